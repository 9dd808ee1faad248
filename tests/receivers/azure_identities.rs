//! Azure access tokens: client secret, workload identity and managed identity.

use std::process::Command;

use miro_siem::{
    config::{
        Secret,
        settings::{AzureCredential, AzureMonitorSettings},
    },
    sink::{ErrorClass, Receipt, Sink as _, azure_monitor::AzureMonitorSink, http::Connection},
};
use testbed::faults::{Answer, Fault, RetryAfter};

use crate::{
    azure_monitor::Cloud,
    support::{Events, SHORT, TIMEOUT, TempFile, assert_clean, connection, error, outcome},
};

#[tokio::test]
async fn a_token_is_asked_for_once_and_kept() {
    let cloud = Cloud::start();
    let sink = cloud.sink();
    assert_eq!(sink.probe().await, Ok(()));
    for _ in 0..3 {
        assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    }
    assert_eq!(cloud.azure.entra().ledger().counts().requests, 1);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_within_the_delivery() {
    let cloud = Cloud::start();
    let sink = cloud.sink();
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    cloud.azure.revoke_tokens();
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    assert_eq!(cloud.azure.entra().ledger().counts().requests, 2);
    assert_eq!(cloud.azure.ingest().ledger().times_seen("event#0"), 2);
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_a_fault_of_credentials() {
    let cloud = Cloud::start();
    cloud.azure.ingest().faults().next(10, Fault::answer(Answer::new(401, "")));
    assert_eq!(outcome(&cloud.sink(), &Events::ordinary(3)).await, Err(ErrorClass::Auth));
    assert_eq!(cloud.azure.ingest().ledger().counts().requests, 2, "it is tried with one new token and not more");
}

#[tokio::test]
async fn a_wrong_secret_is_named_by_entras_code_and_never_shown() {
    let cloud = Cloud::start();
    let wrong = "wrong~secret~of~the~application";
    let settings = AzureMonitorSettings { credential: cloud.client_secret(Secret::literal(wrong)), ..cloud.settings() };
    let sink = cloud.sink_with(settings, TIMEOUT);
    for fault in [sink.probe().await.expect_err("refused"), error(&sink, &Events::ordinary(1)).await] {
        assert_eq!(fault.class(), ErrorClass::Auth);
        assert!(fault.to_string().contains("AADSTS7000215"), "{fault}");
        assert!(fault.to_string().contains("check tenant_id, client_id and client_secret"), "{fault}");
        assert_clean(&fault, &fault.to_string(), &[wrong]);
    }
    assert_eq!(cloud.azure.ingest().ledger().counts().requests, 0);
}

#[tokio::test]
async fn a_secret_that_was_replaced_in_its_file_is_used_at_once() {
    let cloud = Cloud::start();
    let file = TempFile::new("an-old-secret");
    let settings = AzureMonitorSettings { credential: cloud.client_secret(Secret::File(file.path.clone())), ..cloud.settings() };
    let sink = cloud.sink_with(settings, TIMEOUT);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Err(ErrorClass::Auth));
    file.write(&cloud.config.client_secret);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
}

#[tokio::test]
async fn an_authority_that_fails_leaves_the_events_untaken() {
    let check = async |fault: Fault, expected: ErrorClass| {
        let cloud = Cloud::start();
        cloud.azure.entra().faults().next(1, fault.clone());
        let sink = cloud.sink_with(cloud.settings(), SHORT);
        let got = error(&sink, &Events::ordinary(1)).await;
        assert_eq!(got.class(), expected, "{fault:?} gave {got}");
        assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All), "{fault:?}");
        assert_eq!(cloud.azure.ingest().ledger().times_seen("event#0"), 1);
    };
    let wait = std::time::Duration::from_secs(3);
    check(Fault::answer(Answer::new(503, "<html>")), ErrorClass::Retryable).await;
    check(Fault::answer(Answer::new(500, "")), ErrorClass::Retryable).await;
    check(Fault::answer(Answer::new(429, "").retry_after(RetryAfter::Seconds(wait))), ErrorClass::Throttled(Some(wait))).await;
    check(Fault::stall(), ErrorClass::Retryable).await;
    check(Fault::reset_before_body(), ErrorClass::Retryable).await;
    let cloud = Cloud::start();
    let sink = cloud.sink();
    cloud.azure.entra().down().await;
    let fault = sink.probe().await.expect_err("it is down");
    assert_eq!(fault.class(), ErrorClass::Retryable);
    assert!(fault.to_string().contains("connect to the token endpoint"), "{fault}");
}

#[tokio::test]
async fn an_authority_whose_certificate_is_not_trusted_is_named() {
    let cloud = Cloud::start();
    let sink = AzureMonitorSink::new(cloud.settings(), &connection(TIMEOUT)).expect("a sink");
    let fault = sink.probe().await.expect_err("not trusted");
    assert_eq!(fault.class(), ErrorClass::Retryable);
    assert!(fault.to_string().contains("tls.ca_file"), "{fault}");
}

#[tokio::test]
async fn secrets_and_tokens_are_never_sent_in_clear() {
    let cloud = Cloud::start();
    let refused = |settings: AzureMonitorSettings| {
        let connection = Connection { timeout: TIMEOUT, tls: Default::default() };
        AzureMonitorSink::new(settings, &connection).expect_err("refused").to_string()
    };
    let clear: url::Url = "http://login.example.com".parse().expect("a URL");
    assert!(refused(AzureMonitorSettings { authority: clear.clone(), ..cloud.settings() }).starts_with("authority"));
    assert!(refused(AzureMonitorSettings { endpoint: clear, ..cloud.settings() }).starts_with("endpoint"));
}

#[tokio::test]
async fn a_workload_identity_delivers_with_its_projected_token() {
    let cloud = Cloud::start();
    let file = TempFile::new(&cloud.config.client_assertion);
    let credential = AzureCredential::WorkloadIdentity {
        tenant_id: Some(cloud.config.tenant_id.clone()),
        client_id: Some(cloud.config.client_id.clone()),
        token_file: Some(file.path.clone()),
    };
    let sink = cloud.sink_with(AzureMonitorSettings { credential, ..cloud.settings() }, TIMEOUT);
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    assert_eq!(cloud.azure.ingest().ledger().len(), 3);
    assert_eq!(cloud.azure.entra().ledger().counts().requests, 1);
}

#[tokio::test]
async fn a_projected_token_that_was_refused_is_read_again() {
    let cloud = Cloud::start();
    let file = TempFile::new("an-expired-projected-token");
    let credential = AzureCredential::WorkloadIdentity {
        tenant_id: Some(cloud.config.tenant_id.clone()),
        client_id: Some(cloud.config.client_id.clone()),
        token_file: Some(file.path.clone()),
    };
    let sink = cloud.sink_with(AzureMonitorSettings { credential, ..cloud.settings() }, TIMEOUT);
    let fault = error(&sink, &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Auth);
    assert_clean(&fault, &fault.to_string(), &["an-expired-projected-token"]);
    file.write(&cloud.config.client_assertion);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
}

#[tokio::test]
async fn a_workload_identity_without_a_projected_token_is_a_fault_of_credentials() {
    let cloud = Cloud::start();
    let credential = AzureCredential::WorkloadIdentity {
        tenant_id: Some(cloud.config.tenant_id.clone()),
        client_id: Some(cloud.config.client_id.clone()),
        token_file: Some("/nonexistent/azure-identity-token".into()),
    };
    let sink = cloud.sink_with(AzureMonitorSettings { credential, ..cloud.settings() }, TIMEOUT);
    let fault = sink.probe().await.expect_err("no token");
    assert_eq!(fault.class(), ErrorClass::Auth);
    assert!(fault.to_string().contains("/nonexistent/azure-identity-token"), "{fault}");
}

/// Where App Service puts the endpoint of its identity.
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";
/// Where this test finds its ingestion endpoint in the process that it starts.
const INGEST: &str = "MIRO_SIEM_TEST_INGEST";
const CA_FILE: &str = "MIRO_SIEM_TEST_CA_FILE";

/// The environment decides where a managed identity is found, and a process must not change its own: so this test runs itself
/// again with the environment that App Service would set.
#[tokio::test]
async fn a_managed_identity_delivers_with_the_token_of_its_machine() {
    if let Ok(endpoint) = std::env::var(INGEST) {
        return deliver_with_the_managed_identity(&endpoint).await;
    }
    let cloud = Cloud::start();
    for client_id in ["", cloud.config.client_id.as_str()] {
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        again.args(["--exact", "azure_identities::a_managed_identity_delivers_with_the_token_of_its_machine", "--nocapture"]);
        again.env(INGEST, cloud.azure.ingest().url()).env(CA_FILE, cloud.ca_file());
        again.env("MIRO_SIEM_TEST_DCR", &cloud.config.dcr_id).env("MIRO_SIEM_TEST_CLIENT", client_id);
        again.env(IDENTITY_ENDPOINT, cloud.azure.identity_endpoint()).env("IDENTITY_HEADER", &cloud.config.identity_header);
        // A proxy that would swallow the question, were it asked.
        again.env("HTTP_PROXY", "http://127.0.0.1:9");
        again.env("http_proxy", "http://127.0.0.1:9").env("NO_PROXY", "");
        let output = tokio::task::spawn_blocking(move || again.output()).await.expect("joined").expect("run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(cloud.azure.identity().ledger().counts().requests, 2);
    assert_eq!(cloud.azure.ingest().ledger().times_seen("event#0"), 2);
}

async fn deliver_with_the_managed_identity(endpoint: &str) {
    let var = |name: &str| std::env::var(name).expect("set by the outer test");
    let client_id = Some(var("MIRO_SIEM_TEST_CLIENT")).filter(|id| !id.is_empty());
    // Only for the settings that both processes share.
    let template = Cloud::start();
    let settings = AzureMonitorSettings {
        endpoint: endpoint.parse().expect("a URL"),
        dcr_id: var("MIRO_SIEM_TEST_DCR"),
        credential: AzureCredential::ManagedIdentity { client_id },
        ..template.settings()
    };
    let tls = miro_siem::config::settings::TlsSettings { ca_file: Some(var(CA_FILE).into()), ..Default::default() };
    let sink = AzureMonitorSink::new(settings, &Connection { timeout: TIMEOUT, tls }).expect("a sink");
    assert_eq!(sink.probe().await, Ok(()));
    assert_eq!(outcome(&sink, &Events::ordinary(2)).await, Ok(Receipt::All));
}
