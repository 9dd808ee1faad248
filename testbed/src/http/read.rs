//! Reads one request from a connection.

use std::{io, time::Duration};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

use super::Head;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// A sender that stops in the middle of a request for this long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// A request line's or chunk's worth of reading at once.
const READ_BYTES: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("read from the connection: {0}")]
    Io(#[from] io::Error),
    #[error("read a request: {0}")]
    Malformed(&'static str),
    #[error("read a request: the body is longer than the receiver takes")]
    TooLarge,
}

/// How a body is delimited (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// Reads a head; none when the sender closed the connection between requests, or was quiet for longer than `idle`.
pub(super) async fn head(wire: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut, idle: Duration) -> Result<Option<Head>, ReadError> {
    let mut wait = if buf.is_empty() { idle } else { READ_TIMEOUT };
    loop {
        if !buf.is_empty() {
            if let Some((head, len)) = parse(buf)? {
                buf.advance(len);
                return Ok(Some(head));
            }
            wait = READ_TIMEOUT;
        }
        if buf.len() > HEAD_BYTES_MAX {
            return Err(ReadError::Malformed("the head is longer than 64 KiB"));
        }
        buf.reserve(READ_BYTES);
        match timeout(wait, wire.read_buf(buf)).await {
            Ok(Ok(0)) if buf.is_empty() => return Ok(None),
            Ok(Ok(0)) => return Err(ReadError::Malformed("the connection ended within a head")),
            Ok(Ok(_)) => {}
            Ok(Err(err)) => return Err(err.into()),
            Err(_) if buf.is_empty() => return Ok(None),
            Err(_) => return Err(ReadError::Malformed("the head stopped coming")),
        }
    }
}

fn parse(buf: &[u8]) -> Result<Option<(Head, usize)>, ReadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(buf) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ReadError::Malformed("the head is not HTTP/1.1")),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers =
        request.headers.iter().map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())).collect();
    let method = request.method.unwrap_or_default().to_owned();
    Ok(Some((Head { method, path: path.to_owned(), query: query.to_owned(), headers }, len)))
}

pub(super) fn framing(head: &Head) -> Result<Framing, ReadError> {
    if head.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
        return Ok(Framing::Chunked);
    }
    match head.header("content-length") {
        None => Ok(Framing::Length(0)),
        Some(value) => {
            let length = value.trim().parse().map_err(|_| ReadError::Malformed("the content length is not a number"))?;
            Ok(Framing::Length(length))
        }
    }
}

/// Reads a body into `body`, whose capacity is used again.
pub(super) async fn body(
    wire: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    framing: Framing,
    bytes_max: usize,
    body: &mut Vec<u8>,
) -> Result<(), ReadError> {
    body.clear();
    match framing {
        Framing::Length(length) => {
            let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max).ok_or(ReadError::TooLarge)?;
            take_exactly(wire, buf, length, body).await
        }
        Framing::Chunked => chunks(wire, buf, bytes_max, body).await,
    }
}

async fn chunks(wire: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut, bytes_max: usize, body: &mut Vec<u8>) -> Result<(), ReadError> {
    loop {
        let line = line(wire, buf).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| ReadError::Malformed("a chunk size is not a number"))?;
        if size > bytes_max.saturating_sub(body.len()) {
            return Err(ReadError::TooLarge);
        }
        if size == 0 {
            break;
        }
        take_exactly(wire, buf, size, body).await?;
        if !self::line(wire, buf).await?.is_empty() {
            return Err(ReadError::Malformed("a chunk is longer than its size"));
        }
    }
    while !line(wire, buf).await?.is_empty() {}
    Ok(())
}

async fn line(wire: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut) -> Result<String, ReadError> {
    loop {
        if let Some(end) = memchr::memchr(b'\n', buf) {
            let line = String::from_utf8_lossy(&buf[..end]).trim_end_matches('\r').to_owned();
            buf.advance(end + 1);
            return Ok(line);
        }
        if buf.len() > HEAD_BYTES_MAX {
            return Err(ReadError::Malformed("a line between chunks is longer than 64 KiB"));
        }
        buf.reserve(READ_BYTES);
        more(timeout(READ_TIMEOUT, wire.read_buf(buf)).await)?;
    }
}

async fn take_exactly(wire: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut, length: usize, body: &mut Vec<u8>) -> Result<(), ReadError> {
    let end = body.len() + length;
    let buffered = length.min(buf.len());
    // Not the whole length at once: a sender's claim alone should not cost that much memory.
    body.reserve(length.min(READ_AHEAD_BYTES));
    body.extend_from_slice(&buf[..buffered]);
    buf.advance(buffered);
    while body.len() < end {
        let left = (end - body.len()) as u64;
        if body.len() == body.capacity() {
            body.reserve(READ_AHEAD_BYTES);
        }
        more(timeout(READ_TIMEOUT, (&mut *wire).take(left).read_buf(body)).await)?;
    }
    Ok(())
}

/// Room that is made for a body before its bytes are there.
const READ_AHEAD_BYTES: usize = 4 << 20;

fn more(read: Result<io::Result<usize>, tokio::time::error::Elapsed>) -> Result<(), ReadError> {
    match read {
        Ok(Ok(0)) => Err(ReadError::Malformed("the connection ended within a body")),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(err)) => Err(err.into()),
        Err(_) => Err(ReadError::Malformed("the body stopped coming")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(sent: &[u8], bytes_max: usize) -> Result<(Head, Vec<u8>), ReadError> {
        // One byte at a time is the worst way for a request to arrive.
        let (mut sender, mut wire) = tokio::io::duplex(1);
        let sent = sent.to_vec();
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut sender, &sent).await });
        let (mut buf, mut bytes) = (BytesMut::new(), Vec::new());
        let head = head(&mut wire, &mut buf, READ_TIMEOUT).await?.ok_or(ReadError::Malformed("nothing came"))?;
        let framing = framing(&head)?;
        body(&mut wire, &mut buf, framing, bytes_max, &mut bytes).await?;
        Ok((head, bytes))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_body_comes_by_length_or_in_chunks() {
        for (sent, expected) in [
            ("POST /a?b=c HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "hello"),
            ("POST /a?b=c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: 1\r\n\r\n", "hello"),
            ("POST /a?b=c HTTP/1.1\r\n\r\n", ""),
        ] {
            let (head, body) = read_all(sent.as_bytes(), 5).await.expect(sent);
            assert_eq!((head.path.as_str(), head.query.as_str(), body.as_slice()), ("/a", "b=c", expected.as_bytes()));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_broken_or_oversized_request_is_an_error() {
        for (sent, expected) in [
            ("POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nhello!", "longer than the receiver takes"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n", "longer than the receiver"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "chunk size"),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel", "ended within a body"),
            ("POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", "not a number"),
            ("POST / HT", "ended within a head"),
            ("\u{0}\u{1}\u{2}\r\n\r\n", "not HTTP/1.1"),
        ] {
            let err = read_all(sent.as_bytes(), 5).await.expect_err(sent).to_string();
            assert!(err.contains(expected), "{sent:?}: {err}");
        }
    }
}
