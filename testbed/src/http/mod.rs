//! A small HTTP/1.1 server that can misbehave on purpose.
//!
//! An ordinary server library hides the socket, and a stand-in needs it: to reset a connection before or after the body was
//! read, to cut an answer in the middle, to stop answering, to refuse connections and come back on the same port.
//!
//! What it promises: requests with a length or in chunks, gzip and zlib bodies, keep-alive, `Expect: 100-continue`, limits on
//! head, body and decompressed body, and a time limit on every read. A handler is a plain function: what it takes, it takes
//! whole, however the connection ends.
//!
//! What it does not do: HTTP/2, pipelined answers out of order, trailers, ranges, upgrades.

mod connection;
mod decode;
mod read;
mod server;
mod write;

use std::sync::Arc;

pub use decode::Encoding;
pub(crate) use server::Server;

use crate::faults::Take;

/// The first lines of a request.
#[derive(Debug, Clone, Default)]
pub struct Head {
    pub method: String,
    /// As sent, without the query.
    pub path: String,
    /// As sent, without the question mark; empty when there is none.
    pub query: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first value of that name in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<String> {
        form_value(&self.query, name)
    }
}

/// The first value of that name in a form (`a=1&b=2`), with `+` and percent signs decoded.
pub(crate) fn form_value(form: &str, name: &str) -> Option<String> {
    form.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(key) == name).then(|| unescape(value))
    })
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail.get(..2).and_then(hex_byte)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 16).ok()
}

/// A request with its body, decompressed.
#[derive(Debug)]
pub struct Request<'a> {
    pub head: &'a Head,
    pub body: &'a [u8],
    /// The size of the body on the wire.
    pub sent_bytes: usize,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), "application/json".to_owned())], body: body.into() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Why a body never reached the handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// More bytes on the wire than [`Limits::sent_bytes_max`].
    TooLarge,
    /// More bytes after decompression than [`Limits::plain_bytes_max`].
    TooLargeUnpacked,
    /// A `Content-Encoding` that the receiver does not take.
    UnknownEncoding,
    /// The compressed body is broken.
    Undecodable,
}

/// What a receiver takes at all.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub sent_bytes_max: usize,
    pub plain_bytes_max: usize,
    pub encodings: &'static [Encoding],
}

/// A receiver behind the server.
pub trait Service: Send + Sync + 'static {
    fn limits(&self) -> Limits;

    /// The answer to a body that could not be read.
    fn refuse(&self, head: &Head, why: Refusal) -> Reply;

    /// Ingests what `take` says, and answers as if it had ingested everything. Never called with [`Take::Unread`].
    fn handle(&self, request: &Request<'_>, take: Take) -> Reply;
}

impl<S: Service> Service for Arc<S> {
    fn limits(&self) -> Limits {
        (**self).limits()
    }

    fn refuse(&self, head: &Head, why: Refusal) -> Reply {
        (**self).refuse(head, why)
    }

    fn handle(&self, request: &Request<'_>, take: Take) -> Reply {
        (**self).handle(request, take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_value_is_decoded() {
        let check = |form: &str, expected: Option<&str>| assert_eq!(form_value(form, "a b").as_deref(), expected, "{form}");
        check("x=1&a+b=%7E%2f", Some("~/"));
        check("a%20b=1+2", Some("1 2"));
        check("a%20b", Some(""));
        check("a%20b=100%", Some("100%"));
        check("b=1", None);
        check("", None);
    }
}
