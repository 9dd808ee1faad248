//! What the sinks and the libraries below them log at the finest level.

use std::{
    io,
    sync::{Arc, Mutex},
};

use miro_siem::{
    config::{
        Secret,
        settings::{
            Compression, ElasticsearchSettings, HttpCredential, HttpWebhookSettings, IndexerAck, SplunkHecSettings, SumoSettings,
            WebhookBody,
        },
    },
    sink::{Sink, elasticsearch::ElasticsearchSink, http_webhook::HttpWebhookSink, sumo::SumoSink},
};
use testbed::{
    elastic::{Elastic, ElasticConfig},
    faults::{Answer, Fault},
    hec::Acks,
    sumo::{Sumo, SumoConfig},
};
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter};

use crate::{
    azure_monitor::Cloud,
    splunk_hec::{TOKEN, receiver, settings, sink_with},
    support::{Events, TIMEOUT, connection},
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// One delivery that succeeds and one that is refused, and a probe.
async fn exercise(sink: &impl Sink, refuse: impl Fn()) {
    assert!(sink.probe().await.is_ok());
    assert!(sink.deliver(Events::ordinary(3).batch()).await.is_ok());
    refuse();
    assert!(sink.deliver(Events::ordinary(3).batch()).await.is_err());
}

#[tokio::test]
async fn neither_secrets_nor_events_are_logged_at_any_level() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(log.clone()).finish();
    // For this thread, which is the only one that this runtime has.
    let guard = tracing::subscriber::set_default(subscriber);
    let refusal = || Fault::answer(Answer::new(403, "no"));

    let hec = receiver(|config| config.acks = Acks::at_once());
    let sink = sink_with(SplunkHecSettings { ack: IndexerAck::On, ..settings(&hec.url()) }, TIMEOUT);
    exercise(&sink, || hec.faults().next(1, refusal())).await;

    let source = Sumo::start(SumoConfig::default()).expect("a source");
    let url = format!("{}{}", source.url(), source.service().path());
    let settings = SumoSettings {
        url: Secret::literal(url.clone()),
        category: None,
        name: None,
        host: None,
        fields: Vec::new(),
        compression: Compression::None,
    };
    let sink = SumoSink::new(settings, &connection(TIMEOUT)).expect("a sink");
    exercise(&sink, || source.faults().next(1, refusal())).await;

    let settings = HttpWebhookSettings {
        url: Secret::literal(url.clone()),
        body: WebhookBody::Ndjson,
        headers: vec![("x-api-key".to_owned(), Secret::literal("h3ader-s3cret"))],
        credential: HttpCredential::Basic { username: "u".to_owned(), password: Secret::literal("p4ssword-s3cret") },
        signing_secret: Some(Secret::literal("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        compression: Compression::None,
    };
    let sink = HttpWebhookSink::new(settings, &connection(TIMEOUT)).expect("a sink");
    exercise(&sink, || source.faults().next(1, refusal())).await;

    let cluster = Elastic::start(ElasticConfig::default()).expect("a cluster");
    let api_key = ElasticConfig::default().api_key;
    let settings = ElasticsearchSettings {
        url: cluster.url().parse().expect("a URL"),
        data_stream: "logs-miro.{stream}-{namespace}".to_owned(),
        namespace: "default".to_owned(),
        credential: HttpCredential::ApiKey(Secret::literal(api_key.clone())),
        compression: Compression::None,
    };
    let sink = ElasticsearchSink::new(settings, &connection(TIMEOUT)).expect("a sink");
    exercise(&sink, || cluster.faults().next(1, refusal())).await;

    let cloud = Cloud::start();
    exercise(&cloud.sink(), || cloud.azure.ingest().faults().next(1, refusal())).await;
    drop(guard);

    let logged = String::from_utf8_lossy(&log.0.lock().expect("no panic")).into_owned();
    assert!(logged.contains("TRACE"), "the libraries have logged something");
    let source_secret = SumoConfig::default().secret;
    let of_headers = ["h3ader-s3cret", "p4ssword-s3cret", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &api_key];
    for secret in of_headers {
        assert!(!logged.contains(secret), "the log holds {secret}");
    }
    for secret in [TOKEN, &url, &source_secret, &cloud.config.client_secret, "eyJ", "ada.lovelace0@example.com", "Quarterly plan"] {
        assert!(!logged.contains(secret), "the log holds {secret}");
    }
}
