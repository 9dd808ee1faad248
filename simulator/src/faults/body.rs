//! Bodies that misbehave: streams that stop, stall, trickle or never end.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use futures_util::stream;

use crate::server::{Abort, Connection};

/// How long the bytes before a broken-off end are given to leave for the client.
const FLUSH: Duration = Duration::from_millis(30);

/// How the body ends after its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Proper,
    /// Nothing for that long, then a closed connection.
    Stall(Duration),
    /// A closed connection.
    Close,
    /// A TCP reset.
    Reset,
    /// Blanks for ever.
    Never,
}

struct State {
    pieces: std::vec::IntoIter<Bytes>,
    pause: Duration,
    end: End,
    connection: Connection,
}

/// A body of `pieces`, a pause between them, and that end. It breaks off when the server closes.
pub(super) fn body(pieces: Vec<Bytes>, pause: Duration, end: End, connection: Connection) -> Body {
    let state = State { pieces: pieces.into_iter(), pause, end, connection };
    Body::from_stream(stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        Some((item, state))
    }))
}

impl State {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(piece) = self.pieces.next() {
            if !self.pause.is_zero() {
                self.connection.sleep(self.pause).await;
            }
            return Some(Ok(piece));
        }
        match self.end {
            End::Proper => None,
            End::Stall(time) => {
                self.connection.sleep(time).await;
                Some(Err(io::ErrorKind::TimedOut.into()))
            }
            End::Close => {
                self.connection.sleep(FLUSH).await;
                Some(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            End::Reset => {
                self.connection.sleep(FLUSH).await;
                self.connection.abort(Abort::Reset);
                Some(Err(io::ErrorKind::ConnectionReset.into()))
            }
            End::Never if self.connection.is_closing() => Some(Err(io::ErrorKind::ConnectionAborted.into())),
            End::Never => {
                tokio::task::yield_now().await;
                Some(Ok(Bytes::from_static(&BLANKS)))
            }
        }
    }
}

static BLANKS: [u8; 65_536] = [b' '; 65_536];

/// The response with another body that claims to have the length of the first.
pub(super) fn claiming_length(parts: axum::http::response::Parts, length: usize, body: Body) -> Response<Body> {
    let mut response = Response::from_parts(parts, body);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
