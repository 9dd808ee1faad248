//! moto, a stand-in for S3, IAM and STS that others have made: it checks signatures and permissions with AWS's own library.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use miro_siem::{
    config::settings::TlsSettings,
    sink::http::{Connection, Http},
};
use serde_json::Value;

const MISSING: &str = "moto is needed for this test and did not start: run `scripts/test test`, or set MIRO_SIEM_TEST_PYTHON to a Python \
                       that has moto[s3], flask and flask-cors";

/// Who signs is not looked at, where requests are not checked; that somebody has signed is.
const ANYBODY: &str = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";

/// A running moto. It ends with the process that holds it.
pub(crate) struct Moto {
    /// Its standard input is what keeps it.
    _process: Child,
    pub(crate) url: String,
    users: Value,
}

/// An access key.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// An object as it is stored.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) content_type: String,
    /// Decompressed by the end of the key.
    pub(crate) lines: Vec<String>,
}

impl Moto {
    /// The one that lets anybody do anything; tests have buckets of their own in it.
    pub(crate) fn open() -> &'static Self {
        static MOTO: OnceLock<Moto> = OnceLock::new();
        MOTO.get_or_init(|| Self::start(&[]))
    }

    /// The one that checks requests, with the bucket `guarded`.
    pub(crate) fn guarded() -> &'static Self {
        static MOTO: OnceLock<Moto> = OnceLock::new();
        MOTO.get_or_init(|| Self::start(&["users"]))
    }

    fn start(arguments: &[&str]) -> Self {
        let python = std::env::var("MIRO_SIEM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/receivers/real/s3_server.py");
        let mut process = Command::new(&python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{MISSING} ({python}: {error})"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{MISSING} ({python} said {line:?})"));
        let url = said["url"].as_str().expect("a URL").to_owned();
        Self { _process: process, url, users: said["users"].clone() }
    }

    /// A user's key.
    pub(crate) fn key(&self, user: &str) -> Key {
        let text = |name: &str| self.users[user][name].as_str().expect("a key").to_owned();
        Key { id: text("access_key_id"), secret: text("secret_access_key") }
    }

    pub(crate) async fn make_bucket(&self, name: &str) {
        let answer = client().put(format!("{}/{name}", self.url)).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// The bucket's keys, sorted.
    pub(crate) async fn keys(&self, bucket: &str) -> Vec<String> {
        let listed = text(&format!("{}/{bucket}?list-type=2", self.url)).await;
        assert!(listed.contains("<IsTruncated>false</IsTruncated>"), "{listed}");
        listed.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
    }

    /// One object.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Object {
        let request = client().get(format!("{}/{bucket}/{key}", self.url)).header("authorization", ANYBODY);
        let answer = request.send().await.expect("an answer");
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        assert_eq!(answer.headers().get("content-encoding"), None, "whoever fetches it gets the bytes that the key names");
        Object { lines: lines(key, &body(answer).await), key: key.to_owned(), content_type }
    }

    /// Every object of the bucket, by key.
    pub(crate) async fn objects(&self, bucket: &str) -> Vec<Object> {
        let mut objects = Vec::new();
        for key in self.keys(bucket).await {
            objects.push(self.object(bucket, &key).await);
        }
        objects
    }

    /// How often each line is in the bucket.
    pub(crate) async fn lines(&self, bucket: &str) -> BTreeMap<String, u32> {
        let mut lines = BTreeMap::new();
        for line in self.objects(bucket).await.into_iter().flat_map(|object| object.lines) {
            *lines.entry(line).or_default() += 1;
        }
        lines
    }
}

fn client() -> reqwest::Client {
    let connection = Connection { timeout: Duration::from_secs(30), tls: TlsSettings::default() };
    Http::direct(&connection).expect("a client").client().clone()
}

async fn text(url: &str) -> String {
    String::from_utf8(body(client().get(url).send().await.expect("an answer")).await).expect("text")
}

async fn body(mut answer: reqwest::Response) -> Vec<u8> {
    assert!(answer.status().is_success(), "{answer:?}");
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.expect("a piece") {
        body.extend_from_slice(&piece);
    }
    body
}

fn lines(key: &str, body: &[u8]) -> Vec<String> {
    let mut text = String::new();
    if key.ends_with(".ndjson.zst") {
        text = String::from_utf8(zstd::decode_all(body).expect("zstd")).expect("text");
    } else if key.ends_with(".ndjson.gz") {
        flate2::read::GzDecoder::new(body).read_to_string(&mut text).expect("gzip");
    } else {
        text.push_str(std::str::from_utf8(body).expect("text"));
    }
    assert!(text.ends_with('\n'), "every line is whole");
    text.split_terminator('\n').map(ToOwned::to_owned).collect()
}
