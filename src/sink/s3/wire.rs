//! The connection below the library that signs: one client with our TLS, proxies and timeouts, and a note of what was answered.

use std::{
    error::Error as _,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use object_store::{
    ClientOptions, Extensions,
    client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService},
};

use crate::sink::http::{Answer, BuildError, Connection, Http, NoAnswer, Whole};

/// An answer to a request for one object is a few kilobytes at most.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What became of one request. Travels with it, so that its answer comes back here whole, and not as the library's words about it.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Option<Outcome>>>);

/// What became of a request.
pub(super) enum Outcome {
    Answer(Answer),
    None(NoAnswer),
}

impl Seen {
    /// For the options of a request.
    pub(super) fn extensions(&self) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(self.clone());
        extensions
    }

    /// What became of it; `None` if it was not sent.
    pub(super) fn take(&self) -> Option<Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// Makes the library use our clients.
#[derive(Clone)]
pub(super) struct Wire {
    client: reqwest::Client,
    /// Without a proxy, for what exists on this machine's own link alone: where instances and containers get their credentials.
    direct: reqwest::Client,
}

impl Wire {
    pub(super) fn new(connection: &Connection) -> Result<Self, BuildError> {
        let (client, direct) = (Http::new(connection)?, Http::direct(connection)?);
        Ok(Self { client: client.client().clone(), direct: direct.client().clone() })
    }

    fn client_for(&self, request: &HttpRequest) -> &reqwest::Client {
        let host = request.uri().host().unwrap_or_default();
        // IPv4's link-local block, and the addresses that AWS documents for IPv6.
        if host.starts_with("169.254.") || host.starts_with("[fd00:ec2::") { &self.direct } else { &self.client }
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let seen = request.extensions().get::<Seen>().cloned().unwrap_or_default();
        match self.client_for(&request).call(request).await {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let (body, whole) = beginning(body).await;
                seen.note(Outcome::Answer(Answer { status: parts.status, headers: parts.headers.clone(), body: body.clone(), whole }));
                Ok(HttpResponse::from_parts(parts, body.into()))
            }
            Err(error) => {
                if let Some(error) = error.source().and_then(|source| source.downcast_ref::<reqwest::Error>()) {
                    seen.note(Outcome::None(NoAnswer::of(error)));
                }
                Err(error)
            }
        }
    }
}

/// Reads a body as far as it comes and may be long.
async fn beginning(body: HttpResponseBody) -> (Vec<u8>, Whole) {
    let (mut pieces, mut read) = (body.bytes_stream(), Vec::new());
    loop {
        match pieces.next().await {
            Some(Ok(piece)) if read.len() + piece.len() <= ANSWER_BYTES_MAX => read.extend_from_slice(&piece),
            Some(_) => return (read, Whole::No),
            None => return (read, Whole::Yes),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}
