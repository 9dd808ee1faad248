//! The codes of the collector and the states that produce them.

use crate::http::Reply;

/// A code of the collector's error table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Success,
    TokenDisabled,
    TokenRequired,
    InvalidAuthorization,
    InvalidToken,
    NoData,
    InvalidDataFormat,
    IncorrectIndex,
    ServerBusy,
    ChannelMissing,
    InvalidChannel,
    EventRequired,
    EventBlank,
    AckDisabled,
    IndexedFields,
    QueryAuthorizationDisabled,
    Healthy,
    QueuesFull,
    AckUnavailable,
    QueuesFullAckUnavailable,
    ShuttingDown,
    QueueNearCapacity,
    AckNearCapacity,
    QueueAtCapacity,
    AckAtCapacity,
    CloudChannelMissing,
}

impl Code {
    /// Number, HTTP status and text.
    fn row(self) -> (u8, u16, &'static str) {
        match self {
            Self::Success => (0, 200, "Success"),
            Self::TokenDisabled => (1, 403, "Token disabled"),
            Self::TokenRequired => (2, 401, "Token is required"),
            Self::InvalidAuthorization => (3, 401, "Invalid authorization"),
            Self::InvalidToken => (4, 403, "Invalid token"),
            Self::NoData => (5, 400, "No data"),
            Self::InvalidDataFormat => (6, 400, "Invalid data format"),
            Self::IncorrectIndex => (7, 400, "Incorrect index"),
            Self::ServerBusy => (9, 503, "Server is busy"),
            Self::ChannelMissing => (10, 400, "Data channel is missing"),
            Self::InvalidChannel => (11, 400, "Invalid data channel"),
            Self::EventRequired => (12, 400, "Event field is required"),
            Self::EventBlank => (13, 400, "Event field cannot be blank"),
            Self::AckDisabled => (14, 400, "ACK is disabled"),
            Self::IndexedFields => (15, 400, "Error in handling indexed fields"),
            Self::QueryAuthorizationDisabled => (16, 400, "Query string authorization is not enabled"),
            Self::Healthy => (17, 200, "HEC is healthy"),
            Self::QueuesFull => (18, 503, "HEC is unhealthy, queues are full"),
            Self::AckUnavailable => (19, 503, "HEC is unhealthy, ack service unavailable"),
            Self::QueuesFullAckUnavailable => (20, 503, "HEC is unhealthy, queues are full, ack service unavailable"),
            Self::ShuttingDown => (23, 503, "Server is shutting down"),
            Self::QueueNearCapacity => (24, 200, "Success, queue is near capacity"),
            Self::AckNearCapacity => (25, 200, "Success, ack channel is near capacity"),
            Self::QueueAtCapacity => (26, 429, "Queue is at capacity"),
            Self::AckAtCapacity => (27, 429, "Ack channel is at capacity"),
            Self::CloudChannelMissing => (28, 400, "Data channel is missing"),
        }
    }
}

/// An answer in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) code: Code,
    pub(super) event_number: Option<usize>,
    pub(super) ack_id: Option<u64>,
}

impl From<Code> for Verdict {
    fn from(code: Code) -> Self {
        Self { code, event_number: None, ack_id: None }
    }
}

impl Verdict {
    pub(super) fn at(code: Code, event_number: usize) -> Self {
        Self { event_number: Some(event_number), ..Self::from(code) }
    }

    pub(super) fn reply(self) -> Reply {
        let (number, status, text) = self.code.row();
        let event_number = self.event_number.map(|n| format!(r#","invalid-event-number":{n}"#)).unwrap_or_default();
        let ack_id = self.ack_id.map(|id| format!(r#","ackId":{id}"#)).unwrap_or_default();
        Reply::json(status, format!(r#"{{"text":"{text}","code":{number}{event_number}{ack_id}}}"#))
    }
}

/// How the indexer behind the collector is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    #[default]
    Healthy,
    /// Takes events and says so with code 24.
    QueueNearCapacity,
    /// Takes events and says so with code 25.
    AckNearCapacity,
    /// Refuses with 429 and code 26.
    QueueAtCapacity,
    /// Refuses with 429 and code 27.
    AckAtCapacity,
    /// Refuses with 503 and code 9; the health check says code 18.
    Busy,
    /// Refuses with 503 and code 19.
    AckUnavailable,
    /// Refuses with 503 and code 20.
    BusyAckUnavailable,
    /// Refuses with 503 and code 23.
    ShuttingDown,
    /// Refuses every request with a plain 404, as an indexer in a rolling restart may.
    RollingRestart,
}

impl Condition {
    /// The refusal that every event request gets, if any.
    pub(super) fn refusal(self) -> Option<Reply> {
        let code = match self {
            Self::Healthy | Self::QueueNearCapacity | Self::AckNearCapacity => return None,
            Self::QueueAtCapacity => Code::QueueAtCapacity,
            Self::AckAtCapacity => Code::AckAtCapacity,
            Self::Busy => Code::ServerBusy,
            Self::AckUnavailable => Code::AckUnavailable,
            Self::BusyAckUnavailable => Code::QueuesFullAckUnavailable,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::RollingRestart => return Some(not_found()),
        };
        Some(Verdict::from(code).reply())
    }

    /// What a success is called.
    pub(super) fn success(self) -> Code {
        match self {
            Self::QueueNearCapacity => Code::QueueNearCapacity,
            Self::AckNearCapacity => Code::AckNearCapacity,
            _ => Code::Success,
        }
    }

    pub(super) fn health(self) -> Reply {
        let code = match self {
            Self::Healthy | Self::QueueNearCapacity | Self::AckNearCapacity => Code::Healthy,
            Self::Busy | Self::QueueAtCapacity => Code::QueuesFull,
            Self::AckUnavailable | Self::AckAtCapacity => Code::AckUnavailable,
            Self::BusyAckUnavailable => Code::QueuesFullAckUnavailable,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::RollingRestart => return not_found(),
        };
        Verdict::from(code).reply()
    }
}

pub(super) fn not_found() -> Reply {
    Reply::json(404, r#"{"text":"The requested URL was not found on this server.","code":404}"#)
}
