//! Tokens as Miro hands them out: one for each log, and pairs that rotate.

use std::{fs, path::Path, time::Duration};

use miro_simulator::{FaultPlan, Running};
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
    assert_eq!(lines(&dir.path().join("audit.ndjson")), 900);
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
        status["healthy"] == true
            && status["sinks"][0]["backlog_events"] == 0
            && ["audit", "content"].iter().all(|kind| stream(status, kind)["last_success"].is_string())
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
