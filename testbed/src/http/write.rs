//! Puts an answer into bytes.

use std::{fmt::Write as _, time::SystemTime};

use super::Reply;
use crate::faults::Answer;

/// What happens to the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    KeepAlive,
    Close,
}

/// The bytes of an answer, and where its body begins.
pub(super) fn encode(reply: &Reply, after: After) -> (Vec<u8>, usize) {
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut line = |name: &str, value: &str| {
        // Writing into a string cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    };
    line("date", &date);
    for (name, value) in &reply.headers {
        line(name, value);
    }
    // A 204 has no body and must not carry a length (RFC 9110 section 8.6).
    if reply.status != 204 {
        line("content-length", &reply.body.len().to_string());
    }
    if after == After::Close {
        line("connection", "close");
    }
    head.push_str("\r\n");
    let body_at = head.len();
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&reply.body);
    (bytes, body_at)
}

/// The part of an answer that is sent when it has to break off: half of its body, or half of its head where it has no body.
pub(super) fn cut((mut bytes, body_at): (Vec<u8>, usize)) -> Vec<u8> {
    let body_len = bytes.len() - body_at;
    let keep = if body_len > 0 { body_at + body_len / 2 } else { body_at / 2 };
    bytes.truncate(keep);
    bytes
}

pub(super) fn scripted(answer: &Answer) -> Reply {
    let mut headers = answer.headers.clone();
    if let Some(retry_after) = answer.retry_after {
        headers.push(("retry-after".to_owned(), retry_after.header_value(SystemTime::now())));
    }
    Reply { status: answer.status, headers, body: answer.body.clone().into_bytes() }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}
