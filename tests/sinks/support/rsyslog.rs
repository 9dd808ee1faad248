//! The real rsyslogd, with a configuration of its own in a directory of its own.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use super::{pki::Pki, records::Records};

const MISSING: &str = "rsyslogd is needed for this test and was not found; apt-get install rsyslog rsyslog-gnutls rsyslog-relp";
/// Larger than any message here, so that it is our own limit which is tested.
const MESSAGE_BYTES_MAX: &str = "64k";
const PATIENCE: Duration = Duration::from_secs(20);

/// How it listens.
pub(crate) enum Listen<'a> {
    Udp,
    Tcp,
    /// With that server certificate; takes only clients whose certificate is from the same authority and for `collector.example.com`.
    Tls(&'a Pki),
    Relp,
    /// The same over TLS, with the same demands.
    RelpTls(&'a Pki),
}

/// A running rsyslogd. Ends with the value.
pub(crate) struct Rsyslog {
    child: Child,
    dir: PathBuf,
    pub(crate) port: u16,
}

impl Rsyslog {
    pub(crate) fn start(dir: &Path, listen: &Listen<'_>) -> Self {
        Self::start_on(dir, listen, 0)
    }

    /// On a given port, or on any free one if that is 0.
    pub(crate) fn start_on(dir: &Path, listen: &Listen<'_>, port: u16) -> Self {
        let port = if port == 0 { free_port() } else { port };
        let config = dir.join("rsyslog.conf");
        fs::write(&config, configuration(dir, listen, port)).expect("written");
        let log = fs::File::create(dir.join("rsyslogd.log")).expect("a log");
        let child = Command::new("rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(&config)
            .arg("-i")
            .arg(dir.join("rsyslogd.pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{MISSING} ({error})"));
        let mut rsyslog = Self { child, dir: dir.to_owned(), port };
        rsyslog.wait_until_it_listens(listen);
        rsyslog
    }

    fn wait_until_it_listens(&mut self, listen: &Listen<'_>) {
        let tables = if let Listen::Udp = listen { ["/proc/net/udp", "/proc/net/udp6"] } else { ["/proc/net/tcp", "/proc/net/tcp6"] };
        // In these tables, 0A is a listening TCP socket and 07 a bound UDP one.
        let state = if let Listen::Udp = listen { "07" } else { "0A" };
        let wanted = format!(":{:04X}", self.port);
        let listens = |line: &str| {
            let columns: Vec<_> = line.split_ascii_whitespace().take(4).collect();
            columns.len() == 4 && columns[1].ends_with(&wanted) && columns[3] == state
        };
        self.wait("it listens", |_| tables.iter().any(|table| fs::read_to_string(table).is_ok_and(|table| table.lines().any(listens))));
    }

    /// What it has received: the structured data and the message of each line.
    pub(crate) fn received(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.dir.join("received")).unwrap_or_default();
        let lines = text.lines().map(|line| line.split_once('\t').expect("a tab between the two"));
        lines.map(|(data, message)| (data.to_owned(), message.to_owned())).collect()
    }

    /// Waits until it has so many messages, and a moment more for any that are too many.
    pub(crate) fn received_after(&mut self, count: usize) -> Vec<(String, String)> {
        self.wait(&format!("{count} messages have come"), |rsyslog| rsyslog.received().len() >= count);
        std::thread::sleep(Duration::from_millis(200));
        self.received()
    }

    /// Sees that it has exactly these, in this order, byte for byte.
    #[track_caller]
    pub(crate) fn assert_received(&mut self, batches: &[&Records]) {
        let expected: Vec<_> = batches.iter().flat_map(|records| records.expected()).collect();
        let received = self.received_after(expected.len());
        assert_eq!(received.len(), expected.len());
        for (received, expected) in received.iter().zip(&expected) {
            assert_eq!(received, expected);
        }
    }

    /// Ends it without a chance to say so.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn wait(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            let exited = self.child.try_wait().expect("its state");
            assert!(
                exited.is_none() && began.elapsed() < PATIENCE,
                "waited until {what}; {} came; it says: {}",
                self.received().len(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("rsyslogd.log")).unwrap_or_default()
    }

    /// Ends it as a service manager would.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(asked.success());
        self.child.wait().expect("it ends");
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port below those that the system gives to clients, so that none of them takes it meanwhile; free for TCP and UDP.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 100) as u16 * 100;
    let free = |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_ok() && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = std::iter::repeat_with(|| 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    ports.take(1_000).find(free).expect("one port in a thousand is free")
}

fn configuration(dir: &Path, listen: &Listen<'_>, port: u16) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    let (tls, input) = match listen {
        Listen::Udp => (
            String::new(),
            format!("module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\" rcvbufSize=\"1m\")\n"),
        ),
        Listen::Tcp => (String::new(), format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n")),
        Listen::Tls(pki) => (
            format!(
                "defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\"",
                pki.ca_file().display(),
                pki.server.cert_file.display(),
                pki.server.key_file.display()
            ),
            format!(
                "module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"x509/name\" permittedPeer=[\"collector.example.com\"])\n\
                 input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n"
            ),
        ),
        Listen::Relp => (
            String::new(),
            format!("module(load=\"imrelp\")\ninput(type=\"imrelp\" address=\"127.0.0.1\" port=\"{port}\" maxDataSize=\"64k\")\n"),
        ),
        Listen::RelpTls(pki) => (
            String::new(),
            format!(
                "module(load=\"imrelp\")\n\
                 input(type=\"imrelp\" address=\"127.0.0.1\" port=\"{port}\" maxDataSize=\"64k\" tls=\"on\" tls.caCert=\"{}\" tls.myCert=\"{}\" \
                 tls.myPrivKey=\"{}\" tls.authMode=\"name\" tls.permittedPeer=[\"collector.example.com\"])\n",
                pki.ca_file().display(),
                pki.server.cert_file.display(),
                pki.server.key_file.display()
            ),
        ),
    };
    format!(
        "global(workDirectory=\"{work}\" maxMessageSize=\"{MESSAGE_BYTES_MAX}\" parser.escapeControlCharactersOnReceive=\"off\" {tls})\n\
         template(name=\"received\" type=\"string\" string=\"%structured-data%\\t%msg%\\n\")\n\
         {input}\
         action(type=\"omfile\" file=\"{received}\" template=\"received\")\n",
        work = dir.display(),
        received = at("received"),
    )
}
