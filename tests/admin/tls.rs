//! The endpoint's own certificate.

use std::{fs, path::Path, time::Duration};

use miro_siem::{
    admin::Listeners,
    config::settings::{AdminSettings, AdminTls},
    net,
};

use super::support::{Endpoint, settings};

/// A certificate for a name that nobody asks for here: what counts is that it is this one.
fn write_certificate(files: &AdminTls) {
    let made = rcgen::generate_simple_self_signed(vec!["siem.example.com".to_owned()]).expect("a certificate");
    fs::write(&files.cert_file, made.cert.pem()).expect("written");
    fs::write(&files.key_file, made.signing_key.serialize_pem()).expect("written");
}

fn with_tls(dir: &Path) -> AdminSettings {
    let files = AdminTls { cert_file: dir.join("admin.pem"), key_file: dir.join("admin.key") };
    write_certificate(&files);
    AdminSettings { tls: Some(files), ..settings(dir, None) }
}

async fn ask(endpoint: &Endpoint, files: &AdminTls) -> Result<String, String> {
    let client = net::local_client(Some(files)).expect("a client");
    let answer = client.get(format!("https://127.0.0.1:{}/healthz", endpoint.port)).send().await.map_err(|error| net::describe(&error))?;
    let body = net::read_body(answer, 1024, Duration::from_secs(10)).await.map_err(|fault| format!("{fault:?}"))?;
    String::from_utf8(body.into()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn tls_is_spoken_and_the_configured_certificate_is_the_one_that_counts() {
    net::install_tls_provider();
    let dir = tempfile::tempdir().expect("a directory");
    let settings = with_tls(dir.path());
    let files = settings.tls.clone().expect("files");
    let endpoint = Endpoint::with(settings, dir, String::new()).await;
    assert_eq!(ask(&endpoint, &files).await.expect("an answer"), "ok: every task makes progress\n");
    let plain = net::local_client(None).expect("a client");
    assert!(plain.get(format!("http://127.0.0.1:{}/healthz", endpoint.port)).send().await.is_err(), "plain HTTP gets nothing");

    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = AdminTls { cert_file: elsewhere.path().join("c"), key_file: elsewhere.path().join("k") };
    write_certificate(&other);
    let refused = ask(&endpoint, &other).await.expect_err("another certificate is expected");
    assert!(refused.contains("another certificate"), "{refused}");
}

#[tokio::test]
async fn a_changed_certificate_is_taken_up_and_a_broken_one_is_not() {
    net::install_tls_provider();
    let dir = tempfile::tempdir().expect("a directory");
    let settings = with_tls(dir.path());
    let files = settings.tls.clone().expect("files");
    let endpoint = Endpoint::with(settings, dir, String::new()).await;
    let former = endpoint.dir.path().join("former.pem");
    fs::copy(&files.cert_file, &former).expect("copied");
    let before = AdminTls { cert_file: former, ..files.clone() };
    ask(&endpoint, &before).await.expect("an answer");
    fs::write(&files.key_file, "half").expect("written");
    pass_time().await;
    ask(&endpoint, &before).await.expect("the former one stays");
    write_certificate(&files);
    pass_time().await;
    ask(&endpoint, &files).await.expect("the new one is shown");
    ask(&endpoint, &before).await.expect_err("the former one is not");
}

/// Longer than the files are left alone. Sockets are real, so the clock is stopped only for this.
async fn pass_time() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_an_error_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = with_tls(dir.path());
    fs::remove_file(dir.path().join("admin.key")).expect("removed");
    let error = Listeners::bind(&settings).await.expect_err("there is no key").to_string();
    assert!(error.contains("admin.tls") && error.contains("admin.key"), "{error}");
}
