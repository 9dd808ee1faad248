//! One connection to a cluster: opened with the credential as it is now, watched for its end, and never used again after it.

use std::{collections::VecDeque, future::ready, time::Duration};

use async_nats::{
    ConnectOptions, Event as ClientEvent, ServerError,
    jetstream::{
        self,
        context::{GetStreamByNameErrorKind, PublishAckFuture, PublishError},
        message::PublishMessage,
    },
};
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

use super::answer::{self, Cluster};
use crate::{
    config::settings::{NatsCredential, NatsSettings, NatsTls},
    sink::{Batch, ErrorClass, Receipt, SinkError, http::read_secret, receiver_id::receiver_id},
};

/// A connection that takes longer than this to open is not going to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a question beside the events may take. A user who may not ask gets no answer at all.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// What a stream has unless it was configured.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Messages of one delivery that may wait for their acknowledgements at once: a server stores far fewer in the time of a round trip.
const IN_FLIGHT_MAX: usize = 1_000;
/// The library's own limit, for all streams together. Deliveries that were given up count until their time is over.
const IN_FLIGHT_OF_ALL_MAX: usize = 32 * IN_FLIGHT_MAX;
/// Subjects of JetStream's own API: being refused there says nothing about events.
const API_PREFIX: &str = "\"$JS.";

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    jetstream: jetstream::Context,
    cluster: Cluster,
    /// Why it is not to be used any more.
    lost: watch::Receiver<Option<Lost>>,
    timeout: Duration,
}

/// What ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It broke, or the server closed it.
    Disconnected,
    /// The server said this, and then usually closes it.
    Said(String),
}

impl Session {
    /// Connects and authenticates.
    pub(super) async fn open(settings: &NatsSettings, tls: &rustls::ClientConfig, timeout: Duration) -> Result<Self, SinkError> {
        let cluster = Cluster::new(&settings.servers);
        let (tell, lost) = watch::channel(None);
        let options = authenticated(ConnectOptions::new(), &settings.credential)?
            .name("miro-siem")
            .tls_client_config(tls.clone())
            .require_tls(settings.tls == NatsTls::Required)
            .connection_timeout(CONNECT_TIMEOUT.min(timeout))
            .request_timeout(Some(ASK_TIMEOUT))
            // Each server once: what comes after that is the driver's, with its own waits.
            .max_reconnects(settings.servers.len())
            .ignore_discovered_servers()
            .event_callback(move |event| {
                note(&tell, event);
                ready(())
            });
        let options = match &settings.inbox_prefix {
            Some(prefix) => options.custom_inbox_prefix(prefix),
            None => options,
        };
        let servers: Vec<String> = settings.servers.iter().map(ToString::to_string).collect();
        let client = options.connect(servers).await.map_err(|error| answer::no_connection(&cluster, &error))?;
        let jetstream =
            jetstream::ContextBuilder::new().timeout(timeout).ack_timeout(timeout).max_ack_inflight(IN_FLIGHT_OF_ALL_MAX).build(client);
        Ok(Self { jetstream, cluster, lost, timeout })
    }

    /// Whether nothing has ended it, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.lost.borrow().is_none()
    }

    /// Publishes a batch and waits until each message has its answer, the connection is lost, or the time is over.
    pub(super) async fn publish(&self, batch: &Batch<'_>, subject: &str) -> Result<Receipt, SinkError> {
        let mut lost = self.lost.clone();
        let outcomes = tokio::select! {
            // Answers that are here already count.
            biased;
            outcomes = tokio::time::timeout(self.timeout, self.publish_all(batch, subject)) => outcomes.ok(),
            ended = lost.wait_for(Option::is_some) => {
                let lost = ended.ok().and_then(|lost| lost.clone()).unwrap_or(Lost::Disconnected);
                return Err(answer::lost(&self.cluster, &lost));
            }
        };
        match outcomes {
            Some(outcomes) => self.receipt(outcomes, subject).await,
            None => Err(self.explained(answer::no_answer(&self.cluster, self.timeout), subject).await),
        }
    }

    /// What became of each message, in order. The next ones are on their way while the first is waited for.
    async fn publish_all(&self, batch: &Batch<'_>, subject: &str) -> Vec<Result<(), PublishError>> {
        let mut acks = VecDeque::with_capacity(IN_FLIGHT_MAX.min(batch.len()));
        let mut outcomes = Vec::with_capacity(batch.len());
        for (event, record) in batch.iter() {
            if acks.len() >= IN_FLIGHT_MAX {
                outcomes.extend(settled(acks.pop_front()).await);
            }
            acks.push_back(self.publish_one(receiver_id(batch.stream(), event), record, subject).await);
        }
        while !acks.is_empty() {
            outcomes.extend(settled(acks.pop_front()).await);
        }
        outcomes
    }

    async fn publish_one(&self, id: String, record: &[u8], subject: &str) -> Result<PublishAckFuture, PublishError> {
        let message = PublishMessage::build().message_id(id).payload(Bytes::copy_from_slice(record));
        self.jetstream.send_publish(subject.to_owned(), message).await
    }

    async fn receipt(&self, outcomes: Vec<Result<(), PublishError>>, subject: &str) -> Result<Receipt, SinkError> {
        let outcomes = outcomes.into_iter().map(|outcome| outcome.map_err(|error| answer::refusal(&self.cluster, subject, &error)));
        match answer::receipt(outcomes.collect()) {
            Err(error) if matches!(error.class(), ErrorClass::Ambiguous | ErrorClass::Config) => Err(self.explained(error, subject).await),
            receipt => receipt,
        }
    }

    /// Nobody has answered. Why, if the server says so: there is no stream, or there is one that cannot take anything now.
    async fn explained(&self, error: SinkError, subject: &str) -> SinkError {
        match self.stream_of(subject).await {
            Some(Listening::No) => answer::no_stream(&self.cluster, subject),
            Some(Listening::Yes(stream)) if error.class() == ErrorClass::Config => answer::no_leader(&self.cluster, &stream),
            Some(Listening::Yes(_)) | None => error,
        }
    }

    /// An error if it is known that no stream takes the subject.
    pub(super) async fn find_stream(&self, subject: &str) -> Result<(), SinkError> {
        match self.stream_of(subject).await {
            Some(Listening::No) => Err(answer::no_stream(&self.cluster, subject)),
            Some(Listening::Yes(_)) | None => Ok(()),
        }
    }

    /// For how long the stream of that subject knows ids; the server's default where it does not say.
    pub(super) async fn duplicate_window(&self, subject: &str) -> Duration {
        let Some(Listening::Yes(name)) = self.stream_of(subject).await else { return DUPLICATE_WINDOW };
        match tokio::time::timeout(ASK_TIMEOUT, self.jetstream.get_stream(name)).await {
            Ok(Ok(stream)) => stream.cached_info().config.duplicate_window,
            Ok(Err(_)) | Err(_) => DUPLICATE_WINDOW,
        }
    }

    /// Which stream takes the subject; `None` where the server does not say.
    async fn stream_of(&self, subject: &str) -> Option<Listening> {
        match tokio::time::timeout(ASK_TIMEOUT, self.jetstream.stream_by_subject(subject)).await {
            Ok(Ok(stream)) => Some(Listening::Yes(stream)),
            Ok(Err(error)) if error.kind() == GetStreamByNameErrorKind::NotFound => Some(Listening::No),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// What a message comes to. A duplicate is stored too: an earlier copy is.
async fn settled(ack: Option<Result<PublishAckFuture, PublishError>>) -> Option<Result<(), PublishError>> {
    match ack? {
        Ok(ack) => Some(ack.await.map(drop)),
        Err(error) => Some(Err(error)),
    }
}

/// Whether a stream takes a subject.
enum Listening {
    Yes(String),
    No,
}

/// Notes the first thing that ends a connection.
fn note(tell: &watch::Sender<Option<Lost>>, event: ClientEvent) {
    let lost = match event {
        ClientEvent::Disconnected | ClientEvent::Closed => Lost::Disconnected,
        ClientEvent::ServerError(ServerError::Other(text)) if text.contains(API_PREFIX) => return,
        ClientEvent::ServerError(error) => Lost::Said(error.to_string()),
        _ => return,
    };
    tell.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert(lost);
        is_first
    });
}

/// The options with the credential, read now.
fn authenticated(options: ConnectOptions, credential: &NatsCredential) -> Result<ConnectOptions, SinkError> {
    Ok(match credential {
        NatsCredential::None => options,
        NatsCredential::Password { username, password } => {
            let password = read_secret("password", password)?;
            options.user_and_password(username.clone(), password.expose_secret().to_owned())
        }
        NatsCredential::Token(token) => options.token(read_secret("token", token)?.expose_secret().to_owned()),
        NatsCredential::Nkey(seed) => options.nkey(read_secret("nkey", seed)?.expose_secret().to_owned()),
        NatsCredential::Credentials(content) => {
            // The library looks for lines, and the end of the last one is not part of what is read.
            let content = SecretString::from(format!("{}\n", read_secret("credentials", content)?.expose_secret()));
            // The library's words are not repeated: they are about what the file holds.
            options.credentials(content.expose_secret()).map_err(|_| {
                let message = "read credentials: it holds no JWT and seed in the form of a .creds file; make it anew with nsc";
                SinkError::new(ErrorClass::Auth, message)
            })?
        }
    })
}
