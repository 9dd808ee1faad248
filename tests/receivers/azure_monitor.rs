//! Azure Monitor: what arrives, what each answer is taken for, and how tokens are got and renewed.

use std::time::Duration;

use miro_siem::{
    config::{
        Secret,
        settings::{AzureCredential, AzureMonitorSettings, Compression, TlsSettings},
    },
    event::{Origin, StreamKind, Timestamp},
    sink::{ErrorClass, Receipt, Sink as _, Verdict, azure_monitor::AzureMonitorSink, http::Connection},
};
use testbed::{
    azure::{Azure, AzureConfig, Losses, Plan, Role, role_missing, throttled},
    ca::{Ca, ClientCertificates},
    faults::{Answer, Fault, RetryAfter},
    ledger::Keep,
};

use crate::support::{Events, SHORT, TIMEOUT, TempFile, assert_clean, error, odd, ordinary, outcome};

/// The three receivers, and what a sink needs to know of them.
pub(crate) struct Cloud {
    pub(crate) azure: Azure,
    pub(crate) config: AzureConfig,
    ca: TempFile,
}

impl Cloud {
    pub(crate) fn start() -> Self {
        let ca = Ca::new().expect("ca");
        let tls = ca.local_server().and_then(|server| server.server_config(ClientCertificates::NotAsked)).expect("tls");
        let config = AzureConfig { keep: Keep::Bytes, ..AzureConfig::new(tls) };
        Self { azure: Azure::start(config.clone()).expect("started"), config, ca: TempFile::new(&ca.pem()) }
    }

    pub(crate) fn client_secret(&self, client_secret: Secret) -> AzureCredential {
        let (tenant_id, client_id) = (self.config.tenant_id.clone(), self.config.client_id.clone());
        AzureCredential::ClientSecret { tenant_id, client_id, client_secret }
    }

    pub(crate) fn settings(&self) -> AzureMonitorSettings {
        AzureMonitorSettings {
            endpoint: self.azure.ingest().url().parse().expect("a URL"),
            dcr_id: self.config.dcr_id.clone(),
            credential: self.client_secret(Secret::literal(self.config.client_secret.clone())),
            authority: self.azure.entra().url().parse().expect("a URL"),
            scope: format!("{}/.default", self.config.audience),
            audit_stream: "Custom-MiroAuditLogs_CL".to_owned(),
            content_stream: "Custom-MiroContentLogs_CL".to_owned(),
            ai_stream: "Custom-MiroAiLogs_CL".to_owned(),
            licenses_stream: "Custom-MiroLicenses_CL".to_owned(),
            compression: Compression::Gzip,
        }
    }

    pub(crate) fn sink_with(&self, settings: AzureMonitorSettings, timeout: Duration) -> AzureMonitorSink {
        let tls = TlsSettings { ca_file: Some(self.ca.path.clone()), ..TlsSettings::default() };
        AzureMonitorSink::new(settings, &Connection { timeout, tls }).expect("a sink")
    }

    pub(crate) fn sink(&self) -> AzureMonitorSink {
        self.sink_with(self.settings(), TIMEOUT)
    }

    pub(crate) fn ca_file(&self) -> &std::path::Path {
        &self.ca.path
    }

    fn kept(&self, id: &str) -> String {
        String::from_utf8(self.azure.ingest().ledger().kept(id).expect("the event").bytes).expect("UTF-8")
    }

    fn losses(&self) -> Losses {
        self.azure.ingest().service().losses()
    }
}

#[tokio::test]
async fn every_odd_record_that_fits_arrives_byte_for_byte_with_and_without_gzip() {
    for compression in [Compression::Gzip, Compression::None] {
        let cloud = Cloud::start();
        let sink = cloud.sink_with(AzureMonitorSettings { compression, ..cloud.settings() }, TIMEOUT);
        let mut records = odd();
        // The one with a field above 64 KB has a test of its own.
        records.remove(5);
        assert_eq!(outcome(&sink, &Events::audit(&records)).await, Ok(Receipt::All));
        for record in &records {
            let head: serde_json::Value = serde_json::from_str(&record.replace("\\ud800", "").replace("1.0e400", "1")).expect("JSON");
            assert_eq!(cloud.kept(head["id"].as_str().expect("an id")), *record, "{compression:?}");
        }
        let counts = cloud.azure.ingest().ledger().counts();
        assert_eq!((counts.gzip_bytes > 0, counts.requests, counts.connections), (compression == Compression::Gzip, 1, 1));
    }
}

#[tokio::test]
async fn a_table_that_takes_half_an_hour_at_once_is_sent_parts_by_time() {
    let cloud = Cloud::start();
    cloud.azure.ingest().service().set_plan(Plan::Auxiliary);
    let sink = cloud.sink();
    let mut events = Events::new(StreamKind::Audit);
    for (n, minute) in [0, 10, 25, 40, 41, 200].into_iter().enumerate() {
        let time = Timestamp::parse("2026-11-20T10:00:00Z").expect("a time").plus(Duration::from_secs(minute * 60));
        let record = format!(r#"{{"id":"event#{n}","createdAt":"{}"}}"#, time.to_rfc3339_millis());
        events.push(Some(time), Origin::Live, record.as_bytes());
    }
    let accepted = |count: usize| {
        let mut verdicts = vec![Verdict::Accepted; count];
        verdicts.resize(6, Verdict::NotTaken);
        Ok(Receipt::Each(verdicts))
    };
    assert_eq!(outcome(&sink, &events).await, accepted(3));
    let requests = || cloud.azure.ingest().ledger().counts().requests;
    assert_eq!(requests(), 2, "the whole, which was refused, and then its front");
    assert_eq!(outcome(&sink, &events).await, accepted(3));
    assert_eq!(requests(), 3, "what the table takes is remembered");
    assert_eq!(cloud.azure.ingest().ledger().len(), 3);
}

#[tokio::test]
async fn each_stream_goes_to_its_own_table() {
    let cloud = Cloud::start();
    let sink = cloud.sink();
    let mut content = Events::new(StreamKind::Content);
    content.push(None, Origin::Live, br#"{"id":"c","contentId":"1","actionType":"create","actionTime":"2026-11-01T00:00:00Z"}"#);
    assert_eq!(outcome(&sink, &content).await, Ok(Receipt::All));
    assert_eq!(cloud.losses().members_dropped, 0);
    let mut ai = Events::new(StreamKind::Ai);
    ai.push(None, Origin::Live, br#"{"id":"x"}"#);
    let fault = error(&sink, &ai).await;
    assert_eq!(fault.class(), ErrorClass::Config);
    assert!(fault.to_string().contains("Custom-MiroAiLogs_CL"), "{fault}");
}

#[tokio::test]
async fn a_field_above_64_kb_arrives_marked_and_azure_cuts_nothing() {
    let cloud = Cloud::start();
    let (text, list) = ("é".repeat(50_000), format!("[{}0]", "1,".repeat(50_000)));
    let record = format!(r#"{{"id":"long","event":"{text}","details":{list},"category":"kept 1.50"}}"#);
    let events = Events::audit([record, ordinary(1)]);
    assert_eq!(outcome(&cloud.sink(), &events).await, Ok(Receipt::All));
    assert_eq!(cloud.losses().values_cut, 0);
    let row: serde_json::Value = serde_json::from_str(&cloud.kept("long")).expect("JSON");
    assert!(row["event"].as_str().expect("text").contains("… [shortened by miro-siem: 100000 bytes, sha256 "));
    assert_eq!((&row["details"]["_miro_siem_truncated"], &row["details"]["bytes"]), (&true.into(), &list.len().into()));
    assert_eq!(row["category"], "kept 1.50");
    assert_eq!(cloud.kept("event#1"), ordinary(1));
}

#[tokio::test]
async fn a_record_that_is_no_object_is_refused_and_the_others_are_stored() {
    let cloud = Cloud::start();
    let Ok(Receipt::Each(verdicts)) = outcome(&cloud.sink(), &Events::audit(["[1]", r#" {"id":"a"}"#, "null"])).await else {
        panic!("a verdict for each")
    };
    assert!(matches!(verdicts[..], [Verdict::Unencodable(_), Verdict::Accepted, Verdict::Unencodable(_)]), "{verdicts:?}");
    assert_eq!(cloud.azure.ingest().ledger().ids(), ["a"]);
    let Ok(Receipt::Each(verdicts)) = outcome(&cloud.sink(), &Events::audit(["1"])).await else { panic!("a verdict for each") };
    assert!(matches!(verdicts[..], [Verdict::Unencodable(_)]), "{verdicts:?}");
    assert_eq!(cloud.azure.ingest().ledger().counts().requests, 1, "nothing is sent for no row");
    assert_eq!((cloud.losses().elements_dropped, cloud.losses().bodies_dropped), (0, 0));
}

#[tokio::test]
async fn a_body_above_1_mib_as_sent_is_too_large_without_a_request() {
    let cloud = Cloud::start();
    let plain = cloud.sink_with(AzureMonitorSettings { compression: Compression::None, ..cloud.settings() }, TIMEOUT);
    let records: Vec<String> = (0..24).map(|n| format!(r#"{{"id":"event#{n}","event":"{}"}}"#, "x".repeat(50_000))).collect();
    assert_eq!(outcome(&plain, &Events::audit(&records)).await, Err(ErrorClass::TooLarge));
    assert_eq!(cloud.azure.ingest().ledger().counts().requests, 0);
    assert_eq!(outcome(&plain, &Events::audit(&records[..12])).await, Ok(Receipt::All));
    assert_eq!(outcome(&cloud.sink(), &Events::audit(&records)).await, Ok(Receipt::All), "compressed it fits");
}

#[tokio::test]
async fn each_answer_is_taken_for_what_it_means() {
    use ErrorClass::{Ambiguous, Auth, Config, Rejected, Retryable, Throttled, TooLarge};
    let cloud = Cloud::start();
    let sink = cloud.sink();
    let check = async |answer: Answer, expected: ErrorClass| {
        cloud.azure.ingest().faults().next(1, Fault::answer(answer.clone()));
        assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Err(expected), "{answer:?}");
        cloud.azure.ingest().faults().clear();
    };
    let coded = |status, code: &str| Answer::new(status, format!(r#"{{"error":{{"code":"{code}","message":"Something."}}}}"#));
    for (status, class) in [
        (302, Config),
        (403, Auth),
        (404, Config),
        (405, Config),
        (408, Ambiguous),
        (413, TooLarge),
        (415, Config),
        (429, Throttled(None)),
        (500, Ambiguous),
        (502, Ambiguous),
        (503, Retryable),
        (504, Ambiguous),
    ] {
        check(Answer::new(status, ""), class).await;
        check(coded(status, "Something"), class).await;
    }
    check(coded(400, "InvalidPayload"), Rejected).await;
    check(Answer::new(400, "<html>Bad Request</html>"), Config).await;
    check(coded(400, "InvalidStream"), Config).await;
    check(coded(413, "ContentLengthLimitExceeded"), TooLarge).await;
    check(coded(503, "Busy").retry_after(RetryAfter::Seconds(Duration::from_secs(5))), Throttled(Some(Duration::from_secs(5)))).await;
    cloud.azure.ingest().faults().next(1, throttled(RetryAfter::Seconds(Duration::from_secs(11))));
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Err(Throttled(Some(Duration::from_secs(11)))));
    cloud.azure.ingest().faults().next(1, role_missing());
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Err(Auth));
}

#[tokio::test]
async fn each_fault_of_the_way_is_taken_for_what_it_means() {
    let check = async |fault: Fault| {
        let cloud = Cloud::start();
        let sink = cloud.sink_with(cloud.settings(), SHORT);
        assert_eq!(sink.probe().await, Ok(()));
        cloud.azure.ingest().faults().next(1, fault.clone());
        assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Err(ErrorClass::Ambiguous), "{fault:?}");
    };
    check(Fault::stall_after_taking()).await;
    check(Fault::reset_before_body()).await;
    check(Fault::reset_after_taking()).await;
    let cloud = Cloud::start();
    let sink = cloud.sink();
    cloud.azure.ingest().down().await;
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Err(ErrorClass::Retryable));
    cloud.azure.ingest().up().expect("the port");
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
}

#[tokio::test]
async fn a_missing_role_pauses_with_the_mend_and_ends_by_itself() {
    let cloud = Cloud::start();
    let sink = cloud.sink();
    cloud.azure.ingest().service().set_role(Role::Missing);
    let fault = error(&sink, &Events::ordinary(3)).await;
    assert_eq!(fault.class(), ErrorClass::Auth);
    for word in ["Monitoring Metrics Publisher", "30 minutes", "client request id", &cloud.config.dcr_id] {
        assert!(fault.to_string().contains(word), "{fault}");
    }
    cloud.azure.ingest().service().set_role(Role::Granted);
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
}

#[tokio::test]
async fn a_wrong_rule_is_a_fault_of_configuration() {
    let cloud = Cloud::start();
    let settings = AzureMonitorSettings { dcr_id: "dcr-0000/../x".to_owned(), ..cloud.settings() };
    let fault = error(&cloud.sink_with(settings, TIMEOUT), &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Config);
    assert!(fault.to_string().contains("dcr_id"), "{fault}");
}

#[tokio::test]
async fn neither_secrets_nor_tokens_nor_events_show_in_errors_or_debug() {
    let cloud = Cloud::start();
    let secret = cloud.config.client_secret.as_str();
    let sink = cloud.sink_with(cloud.settings(), SHORT);
    let echo = format!("{{\"error\":{{\"code\":\"Echo\",\"message\":{}}}}}", serde_json::Value::from(ordinary(0)));
    for status in [302, 400, 401, 403, 404, 413, 429, 500] {
        cloud.azure.ingest().faults().next(2, Fault::answer(Answer::new(status, echo.clone())));
        let fault = error(&sink, &Events::ordinary(2)).await;
        assert_clean(&fault, &fault.to_string(), &[secret, "ada.lovelace0@example.com", "Quarterly"]);
        cloud.azure.ingest().faults().clear();
    }
    assert_clean(&sink, "", &[secret]);
    cloud.azure.entra().faults().next(1, Fault::answer(Answer::new(401, format!("you sent client_secret={secret}"))));
    let fault = error(&cloud.sink(), &Events::ordinary(2)).await;
    assert_clean(&fault, &fault.to_string(), &[secret]);
}
