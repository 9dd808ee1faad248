//! A process that is killed before each of its steps in turn: between any two system calls of the store, and at every stage of the exchange.
//! The grant is never lost in silence, and no refresh token is sent twice where it could be known that Miro had taken it in.

use std::{
    fs::{File, TryLockError},
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use secrecy::ExposeSecret;

use super::{
    OauthGrant, OauthSettings, TokenSource,
    files::{Disk, Files},
    store::Store,
};
use crate::{
    clock::Clock,
    config::{Secret, settings::TlsSettings},
    event::{OrgName, Timestamp},
    metrics::Metrics,
    miro::{Connection, Limits, MiroClass, MiroError},
    net,
};

const CHILD: &str = "MIRO_SIEM_TEST_KILLED_AT_A_STEP";
const TEST: &str = "miro::auth::killed::a_grant_survives_a_kill_between_any_two_system_calls";
const SEED: &str = "seed";
const KEY: &str = "orgs.acme.oauth";

/// Ends this process at once, as `kill -9` does.
fn die() -> ! {
    let killed = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
    // The signal is on its way; should `kill` be missing, the parent sees an exit code where it expects a signal.
    std::thread::sleep(Duration::from_secs(5));
    panic!("still alive: {killed:?}");
}

/// Files of a process that dies before one of their steps.
#[derive(Debug)]
struct Mortal(AtomicI64);

impl Mortal {
    fn step(&self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 0 {
            die();
        }
    }
}

impl Files for Mortal {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.step();
        Disk.make_dir(dir)
    }
    fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.step();
        Disk.open_lock(path)
    }
    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        self.step();
        Disk.try_lock(file)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step();
        Disk.remove(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step();
        Disk.create(path)
    }
    fn write(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        self.step();
        Disk.write(file, content)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.step();
        Disk.sync(file)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step();
        Disk.rename(from, to)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.step();
        Disk.open(path)
    }
}

/// When, in the nth exchange, the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Miro has the request and has done nothing yet.
    Arrived,
    /// Miro has replaced the pair and has not answered yet.
    Rotated,
    /// The answer is on its way.
    Answered,
}

/// A token endpoint whose refresh tokens work once.
#[derive(Debug, Default)]
struct Books {
    refresh: String,
    rotations: u32,
    sent: Vec<String>,
    kill: Option<(usize, Stage)>,
    victim: Option<Child>,
}

impl Books {
    /// Kills the process where that is the plan, and says so.
    fn kill_if(&mut self, stage: Stage) -> bool {
        let planned = self.kill == Some((self.sent.len(), stage));
        if let Some(victim) = self.victim.as_mut().filter(|_| planned) {
            victim.kill().expect("it can be killed");
            victim.wait().expect("it has ended");
        }
        planned
    }

    /// The answer to a refresh, with the process killed on the way where that is the plan.
    fn answer(&mut self, refresh: &str) -> String {
        self.sent.push(refresh.to_owned());
        if self.kill_if(Stage::Arrived) {
            return String::new();
        }
        if refresh != self.refresh {
            let body = r#"{"type":"error","code":"oauthError","message":"Invalid refresh token","status":401}"#;
            return format!("HTTP/1.1 401 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
        self.rotations += 1;
        self.refresh = format!("refresh-{}", self.rotations);
        self.kill_if(Stage::Rotated);
        let body = format!(r#"{{"access_token":"access-{}","refresh_token":"{}","expires_in":3599}}"#, self.rotations, self.refresh);
        format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }
}

type Miro = Arc<Mutex<Books>>;

/// Serves one request a connection, until the test ends.
fn serve(miro: &Miro) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let miro = miro.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // A connection that breaks is that of a process which was killed.
            let _ = converse(connection, &miro);
        }
    });
    format!("http://{address}")
}

fn converse(connection: TcpStream, miro: &Miro) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let refresh = url::form_urlencoded::parse(&body).find(|(name, _)| name == "refresh_token").map(|(_, value)| value.into_owned());
    let mut books = miro.lock().expect("no panic");
    let answer = books.answer(&refresh.unwrap_or_default());
    let mut connection = reader.into_inner();
    connection.write_all(answer.as_bytes())?;
    connection.shutdown(std::net::Shutdown::Both)?;
    books.kill_if(Stage::Answered);
    Ok(())
}

/// The grant of one life of the program, so many hours after the first.
fn grant(url: &str, hours: &Arc<AtomicI64>, files: Arc<dyn Files>, state: &Path) -> OauthGrant {
    net::install_tls_provider();
    let hours = hours.clone();
    let connection = Connection {
        http: net::http_client(&TlsSettings::default(), Duration::from_secs(20)).expect("a client"),
        api_url: url.parse().expect("an address"),
        clock: Clock::from_fn(move || Timestamp::from_millis(1_769_851_810_840 + hours.load(Ordering::SeqCst) * 3_600_000)),
        metrics: Metrics::new(),
        limits: Limits::default(),
    };
    let settings =
        OauthSettings { client_id: "1".to_owned(), client_secret: Secret::literal("client-secret"), refresh_token: Secret::literal(SEED) };
    OauthGrant::over(connection, OrgName::new("acme"), KEY.to_owned(), settings, Store::over(files, state, "acme"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// The child's part: two refreshes, an hour apart.
fn live(order: &str) {
    let [url, state, steps] = order.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("no order: {order}") };
    let hours = Arc::new(AtomicI64::new(0));
    let grant = grant(url, &hours, Arc::new(Mortal(AtomicI64::new(steps.parse().expect("a number")))), Path::new(state));
    runtime().block_on(async {
        for _ in 0..2 {
            grant.token().await.expect("a token");
            hours.fetch_add(1, Ordering::SeqCst);
        }
    });
}

/// Where a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Before its nth step on the disk.
    Step(i64),
    /// In its nth exchange.
    Exchange(usize, Stage),
}

/// What came of a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// There was no such moment.
    NotKilled,
    /// The next life goes on.
    GoesOn,
    /// The pair was lost, and the operator is told.
    Told,
}

/// One life that is killed at that moment, and what the next one makes of it.
fn check(moment: Moment) -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let miro = Miro::new(Mutex::new(Books { refresh: SEED.to_owned(), ..Books::default() }));
    let url = serve(&miro);
    let steps = match moment {
        Moment::Step(steps) => steps,
        Moment::Exchange(nth, stage) => {
            miro.lock().expect("no panic").kill = Some((nth, stage));
            i64::MAX
        }
    };
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", TEST, "--test-threads", "1"]).env(CHILD, format!("{url} {} {steps}", dir.path().display()));
    let child = {
        // Held until the child is known as the victim: its first request waits that long.
        let mut books = miro.lock().expect("no panic");
        books.victim = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process"));
        miro.clone()
    };
    let status = loop {
        let ended = child.lock().expect("no panic").victim.as_mut().expect("the child").try_wait().expect("it can be waited for");
        if let Some(status) = ended {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if status.success() {
        return Outcome::NotKilled;
    }
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{moment:?}: {status}");
    go_on(moment, &miro, &url, dir.path())
}

/// The next life, on the same directory, hours later.
fn go_on(moment: Moment, miro: &Miro, url: &str, state: &Path) -> Outcome {
    let stored = Store::new(state, "acme").load().unwrap_or_else(|error| panic!("{moment:?}: {error}"));
    let next = stored.as_ref().and_then(|record| record.pair.as_ref()).map_or(SEED, |pair| pair.refresh.expose_secret()).to_owned();
    let in_doubt = stored.is_some_and(|record| record.in_doubt_since.is_some());
    // A pair that is whole beside the record counts, and its refresh token has not been sent.
    let beside = std::fs::read_to_string(state.join("tokens/acme.json.tmp")).unwrap_or_default();
    let (before, good) = {
        let books = miro.lock().expect("no panic");
        (books.sent.clone(), books.refresh.clone())
    };
    let next = if in_doubt && beside.contains(&good) { good.clone() } else { next };
    assert!(!before.contains(&next) || in_doubt, "{moment:?}: {next} was sent, and nothing on disk says so");
    let token = runtime().block_on(grant(url, &Arc::new(AtomicI64::new(5)), Arc::new(Disk), state).token());
    let sent = miro.lock().expect("no panic").sent.clone();
    assert_eq!(sent[before.len()..], *std::slice::from_ref(&next), "{moment:?}: one refresh, with what is on disk");
    if next == good {
        token.unwrap_or_else(|error| panic!("{moment:?}: {error}"));
        return Outcome::GoesOn;
    }
    told(&token.expect_err("the pair is lost"));
    Outcome::Told
}

/// Word for word: this is all that an operator has to go by.
fn told(error: &MiroError) {
    let text = error.to_string();
    let (before, after) = text.split_once("began at ").expect("the time");
    assert_eq!(
        before,
        "failed to refresh the token of orgs.acme.oauth: Miro answered 401 oauthError: Invalid refresh token: a refresh that "
    );
    let (_, after) = after.split_once(' ').expect("what follows the time");
    assert_eq!(
        after,
        "was interrupted before its answer was kept; Miro had replaced the refresh token by then, and the new one is lost; \
         authorise the app again in Miro and put the new refresh token at orgs.acme.oauth.refresh_token"
    );
    assert_eq!(error.class(), MiroClass::Auth);
}

#[test]
fn a_grant_survives_a_kill_between_any_two_system_calls() {
    if let Ok(order) = std::env::var(CHILD) {
        return live(&order);
    }
    let mut outcomes: Vec<Outcome> =
        (0..).map(|step| check(Moment::Step(step))).take_while(|outcome| *outcome != Outcome::NotKilled).collect();
    // A directory with its lock, then two refreshes of two records of seven steps each.
    assert!(outcomes.len() >= 30, "only {} steps", outcomes.len());
    // Between the answer and its first write, the pair is in the process alone: there is no system call in between.
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Told).count(), 2, "{outcomes:?}");
    for exchange in [1, 2] {
        outcomes.push(check(Moment::Exchange(exchange, Stage::Arrived)));
        assert_eq!(outcomes.last(), Some(&Outcome::GoesOn), "Miro took in nothing that was not answered");
    }
}

#[test]
fn a_kill_in_mid_exchange_is_made_good_where_miro_took_nothing_in_and_told_where_it_did() {
    for exchange in [1, 2] {
        assert_eq!(check(Moment::Exchange(exchange, Stage::Rotated)), Outcome::Told);
        // Whether the answer had been kept by then is a matter of microseconds; it is never a matter of silence.
        assert_ne!(check(Moment::Exchange(exchange, Stage::Answered)), Outcome::NotKilled);
    }
}
