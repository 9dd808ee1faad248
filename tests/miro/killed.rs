//! A process that refreshes without pause and is killed at random moments: the grant is never lost in silence, and no refresh token is ever sent
//! that Miro was known to have replaced.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use miro_siem::{
    clock::Clock,
    config::{Secret, settings::TlsSettings},
    event::{OrgName, Timestamp},
    miro::auth::{OauthGrant, OauthSettings, TokenSource},
};

use crate::{
    client::connection_to,
    grants::{self, CLIENT_SECRET, Grants, Miro},
    server::{Server, Step},
};

const CHILD: &str = "MIRO_SIEM_TEST_KILLED_CHILD";
const KILLS: u32 = 50;
/// How much faster than the real one the child's clock runs: a token of an hour lives for 36 ms.
const SPEED: i64 = 100_000;

/// The child's part: to ask for a token again and again, until it is killed.
async fn refresh_for_ever(order: &str) {
    let (url, state) = order.split_once(' ').expect("an order");
    let mut connection = connection_to(&url.parse().expect("an address"), &TlsSettings::default());
    connection.clock = Clock::from_fn(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Timestamp::from_micros(i64::try_from(since.as_micros()).expect("small") % 100_000_000_000 * SPEED)
    });
    let settings = OauthSettings {
        client_id: "1".to_owned(),
        client_secret: Secret::literal(CLIENT_SECRET),
        refresh_token: Secret::File(Path::new(state).join("seed")),
    };
    let grant = OauthGrant::new(connection, OrgName::new("acme"), "orgs.acme.oauth", settings, Path::new(state), "acme");
    loop {
        // What became of it is for the parent to judge, by what Miro was sent and what is on disk.
        let _ = grant.token().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A Miro that takes its time, before it rotates a pair and after.
async fn slow_miro(miro: &Miro) -> Server {
    let miro = miro.clone();
    Server::start(move |request| {
        std::thread::sleep(Duration::from_millis(3));
        let mut steps = miro.lock().expect("no panic").token_endpoint(request);
        steps.insert(0, Step::Wait(Duration::from_millis(3)));
        steps
    })
    .await
}

/// Kills a process a moment after it has begun its next few refreshes.
fn run_and_kill(url: &url::Url, state: &Path, miro: &Miro, kill: u32) {
    let enough = miro.lock().expect("no panic").sent.len() + 1 + kill as usize % 3;
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "killed::a_grant_survives_kill_9_at_any_moment"]).env(CHILD, format!("{url} {}", state.display()));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process");
    let began = Instant::now();
    let has_enough = |grants: &Grants| grants.sent.len() >= enough || grants.refused > 0;
    while !has_enough(&miro.lock().expect("no panic")) {
        assert!(began.elapsed() < Duration::from_secs(60), "kill {kill}: the process does not refresh");
        std::thread::sleep(Duration::from_micros(500));
    }
    std::thread::sleep(Duration::from_micros(u64::from(kill * 3_701 % 15_013)));
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// What is on disk: the refresh token that would be sent next, and whether it is in doubt.
fn on_disk(state: &Path) -> (Option<String>, bool) {
    let Ok(text) = std::fs::read_to_string(state.join("tokens/acme.json")) else { return (None, false) };
    let record: serde_json::Value = serde_json::from_str(&text).expect("a whole record");
    let refresh = |record: &serde_json::Value| record["pair"]["refresh_token"].as_str().map(ToOwned::to_owned);
    let in_doubt = !record["refresh_began_at_us"].is_null();
    // A pair that was written and not put in its place yet is found there.
    let beside = std::fs::read_to_string(state.join("tokens/acme.json.tmp")).unwrap_or_default();
    let found = serde_json::from_str::<serde_json::Value>(&beside).ok().filter(|found| {
        found["pair"]["obtained_at_us"].as_i64() >= record["refresh_began_at_us"].as_i64() && found["seed_sha256"] == record["seed_sha256"]
    });
    (found.filter(|_| in_doubt).as_ref().and_then(refresh).or_else(|| refresh(&record)), in_doubt)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_survives_kill_9_at_any_moment() {
    if let Ok(order) = std::env::var(CHILD) {
        return refresh_for_ever(&order).await;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path();
    let miro = grants::miro();
    let server = slow_miro(&miro).await;
    std::fs::write(state.join("seed"), &miro.lock().expect("no panic").refresh).expect("written");
    let (mut in_doubt, mut lost, mut doubt) = (0, 0, false);
    for kill in 0..KILLS {
        tokio::task::block_in_place(|| run_and_kill(&server.url(), state, &miro, kill));
        // What the killed process had sent is answered first; on a slow machine it may still come later, and then the mark covers it.
        tokio::time::sleep(Duration::from_millis(15)).await;
        let mut grants = miro.lock().expect("no panic");
        let refused = std::mem::take(&mut grants.refused);
        assert!(refused <= u32::from(doubt), "kill {kill}: {refused} times a refresh token was sent that Miro was known to have replaced");
        let next;
        (next, doubt) = on_disk(state);
        in_doubt += u32::from(doubt);
        let next = next.unwrap_or_else(|| std::fs::read_to_string(state.join("seed")).expect("a seed"));
        if next != grants.refresh {
            assert!(doubt, "kill {kill}: the newest pair is not on disk, and nothing says so");
            lost += 1;
            // The operator authorises again.
            grants.refresh = format!("seed-after-kill-{kill}");
            std::fs::write(state.join("seed"), &grants.refresh).expect("written");
        }
    }
    assert!(in_doubt > 0 && in_doubt < KILLS, "all kills hit the same moment: {in_doubt} of {KILLS} in doubt, {lost} lost");
}
