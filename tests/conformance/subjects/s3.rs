//! S3: moto, behind a gate.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use miro_siem::sink::Built;

use crate::{
    observer::Observer,
    real::{
        gate::{Gate, Mode},
        moto::Moto,
    },
    subject::{Behaviour, Cannot, Repeats, Subject, from_configuration},
};

const NO_REFUSAL: Cannot = "a store never looks at what an object holds";

/// What begins a write, and what is in its answer alone.
const WRITE: &str = "PUT /";
const WRITTEN: &str = "ETag: ";
/// What is in every request.
const ANY: &str = " HTTP/1.1";

struct S3 {
    gate: Gate,
    bucket: String,
    observer: Observer,
}

pub(crate) async fn start() -> Box<dyn Subject> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let bucket = format!("conformance-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    // It takes a while to start, and that thread has others to run.
    let moto = tokio::task::spawn_blocking(Moto::open).await.expect("moto");
    moto.make_bucket(&bucket).await;
    let port = moto.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let name = bucket.clone();
    let observer = Observer::start(move |_| {
        // An object stays as it is: each is fetched once.
        let (mut keys, mut seen) = (BTreeSet::new(), BTreeMap::new());
        move |runtime| {
            for key in runtime.block_on(moto.keys(&name)) {
                if !keys.contains(&key) {
                    runtime.block_on(moto.object(&name, &key)).lines.iter().for_each(|line| *seen.entry(id(line)).or_default() += 1);
                    keys.insert(key);
                }
            }
            seen.clone()
        }
    });
    Box::new(S3 { gate: Gate::before(port).await, bucket, observer })
}

fn id(line: &str) -> String {
    serde_json::from_str::<serde_json::Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned()
}

fn answer(status: &str, headers: &str, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code><Message>ordered</Message></Error>");
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn slow_down(wait: &str) -> Mode {
    Mode::AnswerOnce(WRITE, answer("503 Slow Down", &format!("retry-after: {wait}\r\n"), "SlowDown"))
}

/// The form of RFC 9110, section 5.6.7.
fn date(wait: Duration) -> String {
    let time: chrono::DateTime<chrono::Utc> = (SystemTime::now() + wait + Duration::from_millis(999)).into();
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

impl Subject for S3 {
    fn build(&self) -> Built {
        from_configuration(&format!(
            "type = \"s3\"\nbucket = \"{}\"\nendpoint = \"http://127.0.0.1:{}\"\naccess_key_id = \"AK\"\nsecret_access_key = \"x\"",
            self.bucket, self.gate.port
        ))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        self.gate.set(match behaviour {
            Behaviour::Well => Mode::Open,
            Behaviour::AnswersLate(wait) => Mode::HoldReply(WRITTEN, *wait),
            Behaviour::LosesAnswer => Mode::CutReply(WRITTEN),
            Behaviour::Stalls => Mode::HoldRequests(WRITE),
            Behaviour::RefusesCredentials => Mode::Answer(ANY, answer("403 Forbidden", "", "InvalidAccessKeyId")),
            Behaviour::ThrottlesFor(wait) => slow_down(&wait.as_secs().to_string()),
            Behaviour::ThrottlesOtherwise(wait) => slow_down(&date(*wait)),
            Behaviour::TooLarge => Mode::AnswerOnce(WRITE, answer("400 Bad Request", "", "EntityTooLarge")),
            Behaviour::Refuses(_) => return Err(NO_REFUSAL),
        });
        Ok(())
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        self.observer.arrived()
    }

    fn repeats(&self) -> Repeats {
        Repeats::Dropped
    }
}
