//! Tokens as Miro hands them out: one for each log, and pairs that rotate.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use miro_simulator::{Endpoint, Fault, FaultOrder, FaultPlan, Running};
use serde_json::Value;

use crate::{
    daemon::{Daemon, free_port},
    world::organisation,
};

const LIMIT: Duration = Duration::from_secs(120);

fn configure(dir: &Path, miro: &Running, org: &str) -> std::path::PathBuf {
    let text = format!(
        "[state]\ndir = \"{dir}/state\"\n[admin]\nlisten = \"127.0.0.1:{port}\"\n[orgs.acme]\napi_url = \"{url}\"\n{org}\
         [sinks.archive]\ntype = \"file\"\npath = \"{dir}/{{stream}}.ndjson\"\n",
        dir = dir.display(),
        port = free_port(),
        url = miro.url(),
    );
    let path = dir.join("config.toml");
    fs::write(&path, text).expect("the configuration is written");
    path
}

fn stream<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["streams"].as_array().and_then(|rows| rows.iter().find(|row| row["stream"] == kind)).expect("the stream is shown")
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stream_has_its_own_token_and_a_refused_one_holds_up_no_other() {
    let miro = organisation(3, 900, 300, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let token = |name| miro.sim().auth().token(name).expect("the simulator has such a token").to_owned();
    let content_token = dir.path().join("content.token");
    fs::write(&content_token, "not-a-token-of-miro").expect("the token is written");
    let org = format!(
        "[orgs.acme.audit]\nstart = \"5d\"\ntoken = \"{}\"\n[orgs.acme.content]\nstart = \"5d\"\ntoken = {{ file = \"{}\" }}\n",
        token("siem"),
        content_token.display()
    );
    // The token for content logs cannot say which organisation it belongs to while it is refused: the id is configured.
    let org = format!("id = \"{}\"\n{org}", miro.sim().org_id());
    let config = configure(dir.path(), &miro, &org);
    let daemon = Daemon::start(&config, &dir.path().join("log"), "info");
    let refused = tokio::task::block_in_place(|| {
        daemon.wait_until("audit is collected and content is paused", LIMIT, |status| {
            stream(status, "audit")["last_success"].is_string() && stream(status, "content")["phase"] == "paused"
        })
    });
    assert_eq!(refused["healthy"], false, "a stream that needs a person is not healthy");
    let sentence = stream(&refused, "content")["fault"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(sentence.contains("orgs.acme.content"), "the error names the key to mend: {sentence}");

    fs::write(&content_token, token("ediscovery")).expect("the token is mended");
    tokio::task::block_in_place(|| {
        daemon.wait_until("content is collected without a restart", LIMIT, |status| {
            status["healthy"] == true && status["sinks"][0]["backlog_events"] == 0 && lines(&dir.path().join("content.ndjson")) == 300
        })
    });
    tokio::task::block_in_place(|| {
        daemon.wait_until("the past is there as well", LIMIT, |_| lines(&dir.path().join("audit.ndjson")) == 900);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotating_pair_is_fetched_once_for_both_streams_and_survives_kills() {
    let miro = organisation(3, 600, 200, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let app = miro.sim().auth().apps[0].clone();
    let org = format!(
        "oauth = {{ client_id = \"{}\", client_secret = \"{}\", refresh_token = \"{}\" }}\n[orgs.acme.audit]\nstart = \"5d\"\npoll_interval = \"10s\"\n[orgs.acme.content]\nstart = \"5d\"\npoll_interval = \"10s\"\n",
        app.client_id, app.client_secret, app.refresh_token
    );
    let (config, log) = (configure(dir.path(), &miro, &org), dir.path().join("log"));
    let refreshes =
        || miro.sim().requests().iter().filter(|request| request.path == "/v1/oauth/token" && request.status == Some(200)).count();
    let refused =
        || miro.sim().requests().iter().filter(|request| request.path == "/v1/oauth/token" && request.status != Some(200)).count();
    let everything = |status: &Value| {
        let is_through = |row: &Value| row["last_success"].is_string() && row["backfill"]["missing_secs"].as_f64() == Some(0.0);
        status["healthy"] == true
            && status["sinks"][0]["backlog_events"] == 0
            && ["audit", "content"].iter().all(|kind| is_through(stream(status, kind)))
    };

    for _ in 0..3 {
        let mut daemon = Daemon::start(&config, &log, "info");
        let status = tokio::task::block_in_place(|| daemon.wait_until("both streams are collected", LIMIT, everything));
        assert!(stream(&status, "audit")["token_expires_at"].is_string(), "an expiring token shows when it expires");
        daemon.kill();
    }
    // The configured refresh token is dead after its first use: only the pair on disk opens Miro after a kill.
    assert_eq!((refreshes(), refused()), (1, 0));
    assert_eq!(lines(&dir.path().join("audit.ndjson")), 600);
    assert_eq!(lines(&dir.path().join("content.ndjson")), 200);
}

/// What /healthz answers: the status line and the body.
fn healthz(config: &Path) -> (String, String) {
    let text = fs::read_to_string(config).expect("the configuration");
    let (_, address) = text.split_once("listen = \"").expect("an address");
    let mut connection = TcpStream::connect(address.split('"').next().expect("its end")).expect("the endpoint is there");
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// A grant of which one part is wrong at first, as a file that is mended later.
async fn check_dead_grant(part: &str, words: &[&str]) {
    let miro = organisation(2, 100, 0, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let app = miro.sim().auth().apps[0].clone();
    let wrong = dir.path().join("wrong");
    fs::write(&wrong, "not-what-miro-knows").expect("written");
    let value =
        |name: &str, right: &str| if name == part { format!("{{ file = \"{}\" }}", wrong.display()) } else { format!("\"{right}\"") };
    let (secret, refresh) = (value("client_secret", &app.client_secret), value("refresh_token", &app.refresh_token));
    let org = format!(
        "id = \"{}\"\noauth = {{ client_id = \"{}\", client_secret = {secret}, refresh_token = {refresh} }}\n[orgs.acme.audit]\nstart = \"5d\"\n",
        miro.sim().org_id(),
        app.client_id
    );
    let config = configure(dir.path(), &miro, &org);
    let daemon = Daemon::start(&config, &dir.path().join("log"), "info");
    let asked = || miro.sim().requests().iter().filter(|request| request.path == "/v1/oauth/token").count();
    tokio::task::block_in_place(|| {
        // At once: the first refusal is enough, no interval has to pass.
        let paused = daemon.wait_until("the stream is paused", LIMIT, |status| stream(status, "audit")["phase"] == "paused");
        let fault = &stream(&paused, "audit")["fault"];
        assert_eq!(fault["class"], "auth", "{fault}");
        for word in words {
            assert!(fault["message"].as_str().is_some_and(|message| message.contains(word)), "no {word:?} in {fault}");
        }
        let (line, body) = healthz(&config);
        assert!(line.contains("503") && words.iter().all(|word| body.contains(word)), "{line}: {body}");
    });
    assert_eq!(asked(), 1, "a dead grant is not asked about again");
    fs::write(&wrong, if part == "client_secret" { &app.client_secret } else { &app.refresh_token }).expect("mended");
    let mended = tokio::task::block_in_place(|| {
        daemon.wait_until("it is collected without a restart", LIMIT, |status| {
            status["healthy"] == true && lines(&dir.path().join("audit.ndjson")) == 100
        })
    });
    let row = stream(&mended, "audit");
    assert!(row["token_days_left"].as_f64().is_some_and(|days| (0.03..=0.05).contains(&days)), "an hour: {row}");
    assert!(row["grant_days_left"].as_f64().is_some_and(|days| (59.9..=60.0).contains(&days)), "60 days: {row}");
    assert!(tokio::task::block_in_place(|| healthz(&config)).0.contains("200"));
    assert_eq!(asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_refresh_token_pauses_the_stream_at_once_and_a_mended_file_is_picked_up() {
    check_dead_grant("refresh_token", &["oauthError: Invalid refresh token", "put the new refresh token at orgs.acme.oauth.refresh_token"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_pauses_the_stream_at_once_and_a_mended_file_is_picked_up() {
    check_dead_grant("client_secret", &["secretKeyNotFound", "client_id or client_secret is wrong", "was not used up"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_is_unwell_for_a_while_is_no_dead_grant() {
    let miro = organisation(2, 100, 0, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let app = miro.sim().auth().apps[0].clone();
    let org = format!(
        "oauth = {{ client_id = \"{}\", client_secret = \"{}\", refresh_token = \"{}\" }}\n[orgs.acme.audit]\nstart = \"5d\"\n",
        app.client_id, app.client_secret, app.refresh_token
    );
    let config = configure(dir.path(), &miro, &org);
    miro.sim().order_fault(FaultOrder { fault: Fault::Status(503), endpoint: Some(Endpoint::Token), times: 3, after: 0 });
    let daemon = Daemon::start(&config, &dir.path().join("log"), "info");
    tokio::task::block_in_place(|| {
        daemon.wait_until("it is collected", LIMIT, |status| {
            let row = stream(status, "audit");
            assert_ne!(row["phase"], "paused", "nobody is needed: {row}");
            assert_eq!(status["healthy"], true, "{status:#}");
            row["last_success"].is_string() && lines(&dir.path().join("audit.ndjson")) == 100
        })
    });
    let statuses: Vec<_> =
        miro.sim().requests().iter().filter(|request| request.path == "/v1/oauth/token").map(|request| request.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(503), Some(200)]);
}
