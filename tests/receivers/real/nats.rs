//! The real nats-server with JetStream.

use std::{fs, net::TcpStream, path::PathBuf, process::Command, time::Duration};

use async_nats::{
    ConnectOptions,
    jetstream::{self, stream},
};

use super::{Process, free_port};

const MISSING: &str = "nats-server is needed for this test and was not found; apt-get install nats-server";

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) id: String,
    pub(crate) payload: String,
}

/// A server in a directory of its own; what it has stored outlives a restart.
pub(crate) struct NatsServer {
    process: Option<Process>,
    dir: tempfile::TempDir,
    pub(crate) port: u16,
}

impl NatsServer {
    /// With JetStream, and whatever the configuration has beside it.
    pub(crate) async fn start(configuration: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("store").display().to_string();
        Self::start_in(dir, &format!("jetstream {{ store_dir: '{store}' }}\n{configuration}")).await
    }

    /// With nothing but the configuration.
    pub(crate) async fn start_bare(configuration: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), configuration).await
    }

    async fn start_in(dir: tempfile::TempDir, configuration: &str) -> Self {
        let port = free_port();
        fs::write(dir.path().join("nats.conf"), format!("listen: '127.0.0.1:{port}'\n{configuration}\n")).expect("written");
        let mut server = Self { process: None, dir, port };
        server.begin().await;
        server
    }

    /// Starts it, again after it was ended, on the same port and with the same store.
    pub(crate) async fn begin(&mut self) {
        let log = fs::File::create(self.path("log")).expect("a log");
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(self.path("nats.conf")).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut process = Process::spawn(&mut command, MISSING);
        let (port, log) = (self.port, self.path("log"));
        // It listens when JetStream has read its store.
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        process.wait_until("it listens", listens, || fs::read_to_string(&log).unwrap_or_default()).await;
        self.process = Some(process);
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    pub(crate) fn stop(&mut self) {
        self.process.take().expect("it runs").stop();
    }

    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// JetStream as an administrator has it.
    pub(crate) async fn jetstream(&self, options: ConnectOptions) -> jetstream::Context {
        jetstream::new(options.connect(self.url()).await.expect("a connection"))
    }

    /// Makes the stream that the documentation advises.
    pub(crate) async fn make_stream(&self, options: ConnectOptions) {
        self.make_stream_with(options, |config| config).await;
    }

    pub(crate) async fn make_stream_with(&self, options: ConnectOptions, change: impl FnOnce(stream::Config) -> stream::Config) {
        let config = stream::Config {
            name: "MIRO".to_owned(),
            subjects: vec!["miro.*.*".to_owned()],
            duplicate_window: Duration::from_secs(24 * 3600),
            ..stream::Config::default()
        };
        self.jetstream(options).await.create_stream(change(config)).await.expect("a stream");
    }

    /// Everything that is stored, in order.
    pub(crate) async fn stored(&self, options: ConnectOptions) -> Vec<Stored> {
        let jetstream = self.jetstream(options).await;
        let mut stream = jetstream.get_stream("MIRO").await.expect("the stream");
        let state = stream.info().await.expect("its state").state.clone();
        let mut stored = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.expect("a message");
            let id = message.headers.get("Nats-Msg-Id").expect("an id").as_str().to_owned();
            let payload = String::from_utf8(message.payload.to_vec()).expect("text");
            stored.push(Stored { subject: message.subject.to_string(), id, payload });
        }
        stored
    }

    /// How many messages are stored.
    pub(crate) async fn count(&self) -> u64 {
        let jetstream = self.jetstream(ConnectOptions::new()).await;
        let mut stream = jetstream.get_stream("MIRO").await.expect("the stream");
        stream.info().await.expect("its state").state.messages
    }
}
