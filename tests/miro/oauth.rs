//! Grants with expiring tokens, against a Miro that drops the old pair at once.

use std::{
    collections::HashSet,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use miro_siem::{
    clock::Clock,
    config::Secret,
    event::{OrgName, Timestamp},
    miro::{
        LogKind, MiroClass, MiroError, OrgId, Pages,
        auth::{AccessToken, OauthGrant, OauthSettings, TokenSource},
    },
};
use secrecy::ExposeSecret;

use crate::{
    client::{NOW, client_with, connection, first_page},
    grants::{CLIENT_SECRET, Miro, SEED, Whim, miro, serve},
    server::{Reply, Server, Step, json, reply},
};

/// One life of the program over a state directory.
struct Life {
    clock: Arc<AtomicI64>,
    seed: Secret,
    client_secret: Secret,
    state: PathBuf,
}

impl Life {
    fn over(state: &Path) -> Self {
        let clock = Arc::new(AtomicI64::new(NOW.as_micros()));
        Self { clock, seed: Secret::literal(SEED), client_secret: Secret::literal(CLIENT_SECRET), state: state.to_owned() }
    }

    fn grant(&self, server: &Server) -> OauthGrant {
        let clock = self.clock.clone();
        let mut connection = connection(server);
        connection.clock = Clock::from_fn(move || Timestamp::from_micros(clock.load(Ordering::Relaxed)));
        let settings = OauthSettings {
            client_id: "3458764500000000001".to_owned(),
            client_secret: self.client_secret.clone(),
            refresh_token: self.seed.clone(),
        };
        OauthGrant::new(connection, OrgName::new("acme"), "orgs.acme.oauth", settings, &self.state, "acme")
    }

    fn pass(&self, time: Duration) {
        self.clock.fetch_add(i64::try_from(time.as_micros()).expect("small"), Ordering::Relaxed);
    }

    fn record(&self) -> PathBuf {
        self.state.join("tokens/acme.json")
    }
}

fn state() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn text(token: &AccessToken) -> String {
    token.secret().expose_secret().to_owned()
}

fn sent(miro: &Miro) -> Vec<String> {
    miro.lock().expect("no panic").sent.clone()
}

fn set_whim(miro: &Miro, whim: Whim) {
    miro.lock().expect("no panic").whim = whim;
}

#[track_caller]
fn check(error: &MiroError, class: MiroClass, label: &str, words: &[&str]) {
    assert_eq!((error.class(), error.label()), (class, label), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("eyJtaXJv") && !text.contains(CLIENT_SECRET), "a secret in: {text}");
    }
}

#[tokio::test]
async fn a_refresh_sends_everything_in_the_body_and_keeps_the_pair_before_it_is_used() {
    let (dir, miro) = (state(), miro());
    let life = Life::over(dir.path());
    miro.lock().expect("no panic").watched = Some(life.record());
    let server = serve(&miro).await;
    let token = life.grant(&server).token().await.expect("a token");
    let grants = miro.lock().expect("no panic");
    assert_eq!(text(&token), grants.access);
    assert_eq!(token.expires_at(), Some(NOW.plus(Duration::from_secs(3_599))));
    let expected =
        [("grant_type", "refresh_token"), ("client_id", "3458764500000000001"), ("client_secret", CLIENT_SECRET), ("refresh_token", SEED)];
    assert_eq!(grants.forms[0], expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(grants.seen_on_disk[0].contains("refresh_began_at_us"), "no mark on disk while Miro was asked: {:?}", grants.seen_on_disk);
    let kept = std::fs::read_to_string(life.record()).expect("a record");
    assert!(kept.contains(&grants.access) && kept.contains(&grants.refresh) && !kept.contains("refresh_began"), "{kept}");
    let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!((mode(&life.record()), mode(&dir.path().join("tokens"))), (0o600, 0o700));
}

#[tokio::test]
async fn a_token_is_refreshed_two_minutes_before_it_expires_and_not_earlier() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    let grant = life.grant(&server);
    let first = grant.token().await.expect("a token");
    assert_eq!(grant.expires_at(), first.expires_at());
    life.pass(Duration::from_secs(3_599 - 121));
    assert_eq!(text(&grant.token().await.expect("a token")), text(&first));
    life.pass(Duration::from_secs(1));
    let second = grant.token().await.expect("a token");
    assert_ne!(text(&second), text(&first));
    assert_eq!((sent(&miro).len(), grant.expires_at()), (2, second.expires_at()));
}

#[tokio::test]
async fn fifty_callers_at_once_cause_one_refresh() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    let grant = life.grant(&server);
    let tokens = join_all((0..50).map(|_| grant.token())).await;
    let distinct: HashSet<_> = tokens.iter().map(|token| text(token.as_ref().expect("a token"))).collect();
    assert_eq!((distinct.len(), sent(&miro).len()), (1, 1));
}

#[tokio::test]
async fn fifty_callers_at_once_share_a_failure() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    let grant = life.grant(&server);
    set_whim(&miro, Whim::Answer(reply(503, "", "")));
    for outcome in join_all((0..50).map(|_| grant.token())).await {
        check(&outcome.expect_err("no token"), MiroClass::Retryable, "503", &["orgs.acme.oauth", "tried again"]);
    }
    assert_eq!(sent(&miro).len(), 1);
    set_whim(&miro, Whim::Fair);
    grant.token().await.expect("tried again when asked again");
}

#[tokio::test]
async fn two_processes_on_one_state_directory_refresh_once() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    let (daemon, doctor) = (life.grant(&server), life.grant(&server));
    for round in 1..=3 {
        let (one, other) = tokio::join!(daemon.token(), doctor.token());
        assert_eq!(text(&one.expect("a token")), text(&other.expect("a token")));
        assert_eq!(sent(&miro).len(), round);
        life.pass(Duration::from_secs(3_599));
    }
}

#[tokio::test]
async fn a_token_that_another_process_has_replaced_is_exchanged_for_its_successor() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    let (daemon, doctor) = (life.grant(&server), life.grant(&server));
    let old = daemon.token().await.expect("a token");
    life.pass(Duration::from_secs(3_500));
    let new = doctor.token().await.expect("a token");
    for _ in 0..2 {
        let other = daemon.rejected(&old).await.expect("no error").expect("another token");
        assert_eq!(text(&other), text(&new));
    }
    assert!(doctor.rejected(&new).await.expect("no error").is_none(), "it was just issued");
    assert_eq!(sent(&miro).len(), 2);
}

#[tokio::test]
async fn a_page_refused_with_401_is_asked_for_once_more_with_a_fresh_token() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    let grant: Arc<dyn TokenSource> = Arc::new(life.grant(&server));
    let client = client_with(connection(&server), LogKind::Audit, OrgId::from_the_token(), grant);
    first_page(&client).await.expect("a page");
    miro.lock().expect("no panic").access = "somebody revoked it".to_owned();
    let error = first_page(&client).await.expect_err("issued a moment ago");
    check(&error, MiroClass::Auth, "401", &["although it was refreshed", "new refresh token", "tokenNotProvided: expired"]);
    assert_eq!(sent(&miro).len(), 1, "a token that was just issued is not refreshed again");
    life.pass(Duration::from_secs(61));
    first_page(&client).await.expect("a page with a fresh token");
    assert_eq!(sent(&miro).len(), 2);
    assert_eq!(client.token_expires_at(), Some(NOW.plus(Duration::from_secs(61 + 3_599))));
}

#[tokio::test]
async fn a_restart_goes_on_with_the_stored_pair() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    let before = life.grant(&server).token().await.expect("a token");
    assert_eq!(text(&life.grant(&server).token().await.expect("a token")), text(&before));
    life.pass(Duration::from_secs(3_599));
    life.grant(&server).token().await.expect("a token");
    let sent = sent(&miro);
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[1], SEED, "the first refresh token was sent again");
}

#[tokio::test]
async fn a_new_refresh_token_in_the_configuration_wins_over_the_stored_pair() {
    let (dir, miro) = (state(), miro());
    let (mut life, server) = (Life::over(dir.path()), serve(&miro).await);
    let file = dir.path().join("refresh_token");
    std::fs::write(&file, SEED).expect("written");
    life.seed = Secret::File(file.clone());
    let grant = life.grant(&server);
    grant.token().await.expect("a token");
    miro.lock().expect("no panic").refresh = "a-grant-of-another-app".to_owned();
    std::fs::write(&file, "a-grant-of-another-app\n").expect("written");
    grant.token().await.expect("a token of the new grant");
    assert_eq!(sent(&miro), [SEED, "a-grant-of-another-app"]);
    // The configured token only begins a grant: without the file, the grant goes on.
    std::fs::remove_file(&file).expect("removed");
    life.pass(Duration::from_secs(3_599));
    grant.token().await.expect("a token of the same grant");
}

/// A refresh that was cut off: whether Miro had taken the token in, and what the next life makes of it.
async fn check_cut_off(whim: Whim, after: impl FnOnce(Result<AccessToken, MiroError>)) {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    life.grant(&server).token().await.expect("a token");
    life.pass(Duration::from_secs(3_599));
    set_whim(&miro, whim);
    let error = life.grant(&server).token().await.expect_err("no answer");
    check(&error, MiroClass::Retryable, "broken", &["the connection", "broke"]);
    assert!(std::fs::read_to_string(life.record()).expect("a record").contains("refresh_began_at_us"));
    set_whim(&miro, Whim::Fair);
    after(life.grant(&server).token().await);
    assert_eq!(sent(&miro).len(), 3, "sent once more because it was unknown whether it had arrived");
}

#[tokio::test]
async fn a_refresh_cut_off_before_miro_took_it_in_is_made_up_for() {
    check_cut_off(Whim::Answer(vec![Step::Close]), |outcome| drop(outcome.expect("a token"))).await;
}

#[tokio::test]
async fn a_refresh_cut_off_after_miro_took_it_in_tells_the_operator_what_was_lost() {
    check_cut_off(Whim::LoseAnswer, |outcome| {
        let error = outcome.expect_err("the pair is lost");
        let words = [
            "2026-01-31T10:30:09.840Z was interrupted",
            "the new one is lost",
            "authorise the app again",
            "orgs.acme.oauth.refresh_token",
            "Invalid refresh token",
        ];
        check(&error, MiroClass::Auth, "401", &words);
    })
    .await;
}

#[test]
fn a_process_that_dies_in_the_middle_of_a_refresh_leaves_a_mark_and_the_next_one_goes_on() {
    let (dir, miro) = (state(), miro());
    let life = Life::over(dir.path());
    let outside = tokio::runtime::Runtime::new().expect("a runtime");
    let server = outside.block_on(serve(&miro));
    set_whim(&miro, Whim::Answer(vec![Step::Wait(Duration::from_secs(600))]));
    let process = tokio::runtime::Runtime::new().expect("a runtime");
    let grant = life.grant(&server);
    process.spawn(async move { grant.token().await });
    while sent(&miro).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    process.shutdown_background();
    assert!(std::fs::read_to_string(life.record()).expect("a record").contains("refresh_began_at_us"));
    set_whim(&miro, Whim::Fair);
    outside.block_on(life.grant(&server).token()).expect("a token");
    assert_eq!(sent(&miro), [SEED, SEED]);
}

#[tokio::test]
async fn a_caller_that_gives_up_at_any_moment_neither_stops_a_refresh_nor_repeats_it() {
    for polls in 0..60 {
        let (dir, miro) = (state(), miro());
        let (life, server) = (Life::over(dir.path()), serve(&miro).await);
        let grant = life.grant(&server);
        let mut caller = grant.token();
        for _ in 0..polls {
            if futures_util::poll!(&mut caller).is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        drop(caller);
        let token = grant.token().await.expect("a token");
        assert_eq!(text(&token), miro.lock().expect("no panic").access, "given up after {polls} polls");
        assert_eq!(sent(&miro), [SEED], "given up after {polls} polls");
    }
}

#[tokio::test]
async fn nothing_is_sent_when_the_mark_cannot_be_written() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    std::fs::write(dir.path().join("tokens"), "in the way").expect("written");
    let grant = life.grant(&server);
    let error = grant.token().await.expect_err("nowhere to write");
    check(&error, MiroClass::Retryable, "state", &["tokens", "must be writable"]);
    assert!(sent(&miro).is_empty());
    std::fs::remove_file(dir.path().join("tokens")).expect("removed");
    grant.token().await.expect("a token");
}

#[tokio::test]
async fn a_pair_that_cannot_be_written_is_not_used_before_it_is_and_not_lost() {
    let (dir, miro) = (state(), miro());
    let life = Life::over(dir.path());
    let (tokens, aside) = (dir.path().join("tokens"), dir.path().join("aside"));
    let (grants, away) = (miro.clone(), (tokens.clone(), aside.clone()));
    let server = Server::start(move |request| {
        let _ = std::fs::rename(&away.0, &away.1).and_then(|()| std::fs::write(&away.0, "in the way"));
        grants.lock().expect("no panic").token_endpoint(request)
    })
    .await;
    let grant = life.grant(&server);
    for _ in 0..3 {
        check(&grant.token().await.expect_err("not on disk"), MiroClass::Retryable, "state", &["must be writable"]);
    }
    std::fs::remove_file(&tokens).and_then(|()| std::fs::rename(&aside, &tokens)).expect("the disk is back");
    let token = grant.token().await.expect("a token");
    assert_eq!((text(&token), sent(&miro).len()), (miro.lock().expect("no panic").access.clone(), 1));
    assert_eq!(text(&life.grant(&server).token().await.expect("the next life")), text(&token));
}

#[tokio::test]
async fn a_refused_refresh_token_is_not_sent_again_before_the_configuration_changes() {
    let (dir, miro) = (state(), miro());
    let (mut life, server) = (Life::over(dir.path()), serve(&miro).await);
    let file = dir.path().join("refresh_token");
    std::fs::write(&file, "not this one").expect("written");
    life.seed = Secret::File(file.clone());
    let grant = life.grant(&server);
    for _ in 0..3 {
        let error = grant.token().await.expect_err("refused");
        check(&error, MiroClass::Auth, "401", &["oauthError: Invalid refresh token", "each works once", "60 days", "new refresh token"]);
    }
    assert_eq!(sent(&miro).len(), 1);
    std::fs::write(&file, SEED).expect("written");
    grant.token().await.expect("a token");
}

#[tokio::test]
async fn a_wrong_client_secret_leaves_the_refresh_token_alone() {
    let (dir, miro) = (state(), miro());
    let (mut life, server) = (Life::over(dir.path()), serve(&miro).await);
    let file = dir.path().join("client_secret");
    std::fs::write(&file, "mistyped-mistyped").expect("written");
    life.client_secret = Secret::File(file.clone());
    let grant = life.grant(&server);
    for _ in 0..2 {
        let error = grant.token().await.expect_err("refused");
        check(&error, MiroClass::Auth, "401", &["secretKeyNotFound", "orgs.acme.oauth.client_secret", "was not used up"]);
    }
    assert_eq!(sent(&miro).len(), 1);
    assert!(!std::fs::read_to_string(life.record()).expect("a record").contains("refresh_began_at_us"), "nothing is in doubt");
    std::fs::write(&file, CLIENT_SECRET).expect("written");
    grant.token().await.expect("a token");
}

#[tokio::test]
async fn each_answer_of_the_token_endpoint_has_its_class() {
    let code = |status: u16, code: &str, message: &str| reply(status, "", format!(r#"{{"code":"{code}","message":"{message}"}}"#));
    let rfc = |code: &str| reply(400, "", format!(r#"{{"error":"{code}","error_description":"as RFC 6749 has it"}}"#));
    let table: Vec<(Reply, MiroClass, &str, &str, bool)> = vec![
        (code(401, "oauthError", "Invalid refresh token"), MiroClass::Auth, "401", "each works once", false),
        (code(401, "oauthError", "Unauthorized grant type"), MiroClass::Auth, "401", "client_id or client_secret is wrong", false),
        (code(401, "somethingNew", "who knows"), MiroClass::Auth, "401", "does not know", false),
        (rfc("invalid_grant"), MiroClass::Auth, "400", "each works once", false),
        (rfc("invalid_client"), MiroClass::Auth, "400", "client_id or client_secret is wrong", false),
        (code(429, "tooManyRequests", "slow"), MiroClass::Throttled(None), "429", "too many requests", false),
        (reply(429, "Retry-After: 9\r\n", ""), MiroClass::Throttled(Some(Duration::from_secs(9))), "429", "too many requests", false),
        (reply(404, "", ""), MiroClass::Config, "404", "no token endpoint", false),
        (reply(302, "Location: /login\r\n", ""), MiroClass::Config, "302", "no token endpoint", false),
        (reply(500, "", ""), MiroClass::Retryable, "500", "tried again", true),
        (json("<html>"), MiroClass::Retryable, "bad_shape", "without an access token", true),
        (json(r#"{"access_token":""}"#), MiroClass::Retryable, "bad_shape", "without an access token", true),
        (
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec()), Step::Wait(Duration::from_secs(600))],
            MiroClass::Retryable,
            "stalled",
            "stopped",
            true,
        ),
        (
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n".to_vec())],
            MiroClass::Retryable,
            "too_large",
            "larger than 1 MiB",
            true,
        ),
    ];
    for (answer, class, label, words, in_doubt) in table {
        let (dir, miro) = (state(), miro());
        let (life, server) = (Life::over(dir.path()), serve(&miro).await);
        set_whim(&miro, Whim::Answer(answer));
        check(&life.grant(&server).token().await.expect_err("no token"), class, label, &[words, "orgs.acme.oauth"]);
        let record = std::fs::read_to_string(life.record()).expect("a record");
        assert_eq!(record.contains("refresh_began_at_us"), in_doubt, "{label} {words}");
    }
}

#[tokio::test]
async fn a_token_that_is_still_good_is_used_while_miro_cannot_refresh_it() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    let grant = life.grant(&server);
    let first = grant.token().await.expect("a token");
    set_whim(&miro, Whim::Answer(reply(503, "", "")));
    life.pass(Duration::from_secs(3_500));
    for _ in 0..5 {
        assert_eq!(text(&grant.token().await.expect("still good")), text(&first));
    }
    assert_eq!(sent(&miro).len(), 2, "one attempt, then a pause");
    life.pass(Duration::from_secs(99));
    check(&grant.token().await.expect_err("expired"), MiroClass::Retryable, "503", &["tried again"]);
}

#[tokio::test]
async fn what_an_answer_leaves_out_is_understood() {
    for (answer, expiry, second_refresh) in [
        (
            r#"{"access_token":"ACCESS","refresh_token":"REFRESH","expires_in":"60"}"#,
            Some(60),
            "eyJtaXJvLm9yaWdpbiI6ImV1MDEifQ_refresh0001",
        ),
        (r#"{"access_token":"ACCESS","expires_in":60,"team_id":99999999999999999999999}"#, Some(60), SEED),
        (r#"{"access_token":"ACCESS","refresh_token":"REFRESH"}"#, None, ""),
        (r#"{"access_token":"ACCESS","refresh_token":"REFRESH","expires_in":0}"#, None, ""),
    ] {
        let (dir, miro) = (state(), miro());
        let (life, server) = (Life::over(dir.path()), serve(&miro).await);
        miro.lock().expect("no panic").answer = answer;
        let grant = life.grant(&server);
        let token = grant.token().await.expect("a token");
        assert_eq!(token.expires_at(), expiry.map(|secs| NOW.plus(Duration::from_secs(secs))), "{answer}");
        life.pass(Duration::from_secs(29));
        assert_eq!(text(&grant.token().await.expect("not due")), text(&token), "{answer}");
        life.pass(Duration::from_secs(1));
        let _ = grant.token().await;
        assert_eq!(sent(&miro).get(1).map_or("", String::as_str), second_refresh, "{answer}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_used_is_named_and_left_alone() {
    for (content, words) in [
        (r#"{"version":1,"seed_sha"#, "is damaged (eof error"),
        ("", "is damaged"),
        (r#"{"version":1,"seed_sha256":5}"#, "is damaged (data error"),
        (r#"{"version":2,"pair":"of another shape"}"#, "was written by a newer miro-siem"),
    ] {
        let (dir, miro) = (state(), miro());
        let (life, server) = (Life::over(dir.path()), serve(&miro).await);
        std::fs::create_dir(dir.path().join("tokens")).expect("a directory");
        std::fs::write(life.record(), content).expect("written");
        check(&life.grant(&server).token().await.expect_err("unusable"), MiroClass::Config, "state", &[words, "acme.json"]);
        assert_eq!(std::fs::read_to_string(life.record()).expect("a record"), content);
        assert!(sent(&miro).is_empty());
    }
}

#[tokio::test]
async fn what_a_crash_left_beside_the_record_is_replaced() {
    let (dir, miro) = (state(), miro());
    let (life, server) = (Life::over(dir.path()), serve(&miro).await);
    std::fs::create_dir(dir.path().join("tokens")).expect("a directory");
    let temporary = dir.path().join("tokens/acme.json.tmp");
    std::fs::write(&temporary, "half a rec").expect("written");
    life.grant(&server).token().await.expect("a token");
    let mode = std::fs::metadata(life.record()).expect("a record").permissions().mode() & 0o777;
    assert_eq!((mode, temporary.exists()), (0o600, false));
}
