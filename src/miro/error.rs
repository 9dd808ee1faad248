//! Why Miro gave no page: a class for the caller, a sentence for the operator, a label for the metric.

use std::{borrow::Cow, sync::Arc, time::Duration};

use thiserror::Error;

/// What kind of failure it was: this decides what the caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiroClass {
    /// The quota is used up; come back after that long, or after a wait of one's own where Miro does not say.
    Throttled(Option<Duration>),
    /// Try again after a wait that grows.
    Retryable,
    /// The cursor is not valid any more: list the window again from its start.
    CursorRejected,
    /// The page is larger than Miro gives: ask for 100 events.
    PageSizeRejected,
    /// The credentials are refused: a person is needed.
    Auth,
    /// The credentials are good and do not suffice: a scope, role or plan is missing.
    Permission,
    /// Miro does not know the organisation or the address.
    NotFound,
    /// Miro does not take the request, and would not take it a second time.
    BadRequest,
    /// The configuration does not fit, or a secret cannot be read.
    Config,
}

impl MiroClass {
    /// The name in logs and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled(_) => "throttled",
            Self::Retryable => "retryable",
            Self::CursorRejected => "cursor_rejected",
            Self::PageSizeRejected => "page_size_rejected",
            Self::Auth => "auth",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::BadRequest => "bad_request",
            Self::Config => "config",
        }
    }

    /// Whether waiting does not help: a person has to change something.
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::Throttled(_) | Self::Retryable | Self::CursorRejected | Self::PageSizeRejected => false,
            Self::Auth | Self::Permission | Self::NotFound | Self::BadRequest | Self::Config => true,
        }
    }
}

/// The label of a call that was not sent because of the quota.
pub(super) const HELD: &str = "held";

/// Why Miro gave no answer that can be used. It prints as a sentence for the operator: what failed, why, and the mend; free of tokens,
/// cursors, queries and event content.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct MiroError {
    class: MiroClass,
    status: Option<u16>,
    label: Cow<'static, str>,
    message: Arc<str>,
}

impl MiroError {
    /// A failure without an HTTP answer; `label` names its kind in metrics.
    pub fn new(class: MiroClass, label: &'static str, message: impl Into<String>) -> Self {
        Self { class, status: None, label: Cow::Borrowed(label), message: message.into().into() }
    }

    /// An answer with that HTTP status.
    pub fn answered(class: MiroClass, status: u16, message: impl Into<String>) -> Self {
        Self { class, status: Some(status), label: Cow::Owned(status.to_string()), message: message.into().into() }
    }

    /// What kind of failure it was.
    pub fn class(&self) -> MiroClass {
        self.class
    }

    /// Whether nothing was sent, because the quota is for others at this moment. That is no failure, only a wait.
    pub fn is_held(&self) -> bool {
        self.label == HELD
    }

    /// The HTTP status, where Miro answered with one that is the reason.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The value of the label `status` of `miro_siem_requests_total`: the HTTP status, or the kind of failure where there was none.
    pub fn label(&self) -> &str {
        &self.label
    }
}
