//! Applying a fault to a request and its answer.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};

use super::Fault;
use super::body::{End, body, claiming_length};
use crate::api::errors::ApiError;
use crate::server::{Abort, Connection};

/// Faults that the listing itself applies, as it alone knows pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageFault {
    RepeatCursor,
    WrongType,
    Duplicates,
    Unsorted,
}

impl Fault {
    pub(crate) fn of_page(self) -> Option<PageFault> {
        match self {
            Self::RepeatCursor => Some(PageFault::RepeatCursor),
            Self::WrongType => Some(PageFault::WrongType),
            Self::Duplicates => Some(PageFault::Duplicates),
            Self::Unsorted => Some(PageFault::Unsorted),
            _ => None,
        }
    }

    /// Whether the client gets no status at all.
    pub(crate) fn hides_status(self) -> bool {
        matches!(self, Self::Reset | Self::ResetAfterProcessing | Self::StallBeforeHeaders(_))
    }
}

/// The answer that replaces the processing of the request, for the faults that prevent it.
pub(crate) async fn before(fault: Fault, connection: &Connection) -> Option<Response<Body>> {
    match fault {
        Fault::Status(status) => Some(ApiError::of_status(status_of(status)).into()),
        Fault::Html(status) => Some(html(status_of(status))),
        Fault::Empty(status) => Some(with_status(status_of(status), Body::empty())),
        Fault::ExpiredCursor => Some(ApiError::invalid("cursor", "The cursor has expired").into()),
        Fault::Reset => Some(aborted(connection, Abort::Reset)),
        Fault::StallBeforeHeaders(time) => {
            connection.sleep(time).await;
            Some(aborted(connection, Abort::Close))
        }
        _ => None,
    }
}

/// The answer as the fault damages it on its way.
pub(crate) async fn after(fault: Fault, response: Response<Body>, connection: &Connection) -> Response<Body> {
    let (parts, whole) = response.into_parts();
    // The body was rendered in memory a moment ago, so reading it back cannot fail and needs no cap.
    let whole = to_bytes(whole, usize::MAX).await.unwrap_or_default();
    let length = whole.len();
    let stream = |pieces, pause, end| body(pieces, pause, end, connection.clone());
    let none = Duration::ZERO;
    match fault {
        Fault::Truncated => claiming_length(parts, length.max(2), stream(first_half(&whole), none, End::Close)),
        Fault::ResetInBody => claiming_length(parts, length.max(2), stream(first_half(&whole), none, End::Reset)),
        Fault::StallInBody(time) => claiming_length(parts, length.max(2), stream(first_half(&whole), none, End::Stall(time))),
        Fault::Endless => without_length(parts, stream(vec![whole.slice(..length.saturating_sub(2))], none, End::Never)),
        Fault::Trickle(time) => {
            let pieces = pieces(&whole, 20);
            let between = time / pieces.len().max(1) as u32;
            claiming_length(parts, length, stream(pieces, between, End::Proper))
        }
        Fault::InvalidJson => without_length(parts, Body::from(whole.slice(..length * 3 / 5))),
        Fault::ResetAfterProcessing => aborted(connection, Abort::Reset),
        _ => Response::from_parts(parts, Body::from(whole)),
    }
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn with_status(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn html(status: StatusCode) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or("Error");
    let page = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{reason}</h1></center>\r\n<hr><center>edge</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = with_status(status, Body::from(page));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// An answer of which no byte reaches the wire, because the connection ends at the first. A server that cannot end connections sends its
/// head, and breaks off there.
fn aborted(connection: &Connection, how: Abort) -> Response<Body> {
    connection.abort(how);
    let (parts, _) = with_status(StatusCode::SERVICE_UNAVAILABLE, Body::empty()).into_parts();
    claiming_length(parts, 2, body(Vec::new(), Duration::ZERO, End::Close, connection.clone()))
}

fn without_length(mut parts: axum::http::response::Parts, body: Body) -> Response<Body> {
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, body)
}

fn first_half(whole: &Bytes) -> Vec<Bytes> {
    vec![whole.slice(..whole.len() / 2)]
}

fn pieces(whole: &Bytes, count: usize) -> Vec<Bytes> {
    let size = whole.len().div_ceil(count).max(1);
    (0..whole.len()).step_by(size).map(|at| whole.slice(at..(at + size).min(whole.len()))).collect()
}
