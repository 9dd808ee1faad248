//! The real syslog-ng, as a second reader: another parser than rsyslog's. Its Debian package cannot be installed beside rsyslog, so
//! `scripts/test tools` unpacks it into `target/test-tools`.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{pki::Pki, rsyslog::free_port};

const PATIENCE: Duration = Duration::from_secs(20);

/// How it listens; both with octet counting.
pub(crate) enum Listen<'a> {
    Tcp,
    /// With that server certificate; takes only clients whose certificate is from the same authority.
    Tls(&'a Pki),
}

/// What it has made of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) priority: String,
    pub(crate) app_name: String,
    pub(crate) msgid: String,
    /// From the structured data.
    pub(crate) org: String,
    pub(crate) id: String,
    pub(crate) message: String,
}

/// A running syslog-ng. Ends with the value.
pub(crate) struct SyslogNg {
    child: Child,
    dir: PathBuf,
    pub(crate) port: u16,
}

impl SyslogNg {
    pub(crate) fn start(dir: &Path, listen: &Listen<'_>) -> Self {
        let port = free_port();
        let config = dir.join("syslog-ng.conf");
        fs::write(&config, configuration(dir, listen, port)).expect("written");
        let log = fs::File::create(dir.join("syslog-ng.log")).expect("a log");
        let at = |name: &str| dir.join(name);
        let (program, library_path, module_path) = installed();
        let child = Command::new(program)
            .env("LD_LIBRARY_PATH", library_path)
            .arg("--module-path")
            .arg(module_path)
            .args(["--foreground", "--no-caps", "--stderr", "--cfgfile"])
            .arg(&config)
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--control")
            .arg(at("control"))
            .arg("--persist-file")
            .arg(at("persist"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("syslog-ng starts");
        let mut syslog_ng = Self { child, dir: dir.to_owned(), port };
        syslog_ng.wait("it listens", |_| TcpStream::connect(("127.0.0.1", port)).is_ok());
        syslog_ng
    }

    /// Waits until it has so many messages, and a moment more for any that are too many.
    pub(crate) fn received_after(&mut self, count: usize) -> Vec<Parsed> {
        self.wait(&format!("{count} messages have come"), |syslog_ng| syslog_ng.received().len() >= count);
        std::thread::sleep(Duration::from_millis(200));
        self.received()
    }

    fn received(&self) -> Vec<Parsed> {
        let text = fs::read_to_string(self.dir.join("received")).unwrap_or_default();
        let parsed = |line: &str| {
            // The message comes last, and may hold tabs.
            let mut parts = line.splitn(6, '\t').map(str::to_owned);
            let mut next = || parts.next().expect("six parts");
            Parsed { priority: next(), app_name: next(), msgid: next(), org: next(), id: next(), message: next() }
        };
        text.lines().map(parsed).collect()
    }

    fn wait(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            let exited = self.child.try_wait().expect("its state");
            let log = || fs::read_to_string(self.dir.join("syslog-ng.log")).unwrap_or_default();
            assert!(exited.is_none() && began.elapsed() < PATIENCE, "waited until {what}; it says: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for SyslogNg {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, its libraries and its modules.
fn installed() -> (PathBuf, PathBuf, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/syslog-ng");
    let (program, libraries) = (root.join("usr/sbin/syslog-ng"), root.join("usr/lib/syslog-ng"));
    let folders = || fs::read_dir(&libraries).into_iter().flatten().flatten().map(|entry| entry.path());
    let modules = folders().find(|path| path.is_dir() && path.join("libsyslogformat.so").exists());
    match modules {
        Some(modules) if program.exists() => (program, libraries, modules),
        _ => panic!("syslog-ng is needed for this test and is not in {}; run: scripts/test tools", root.display()),
    }
}

fn configuration(dir: &Path, listen: &Listen<'_>, port: u16) -> String {
    let transport = match listen {
        Listen::Tcp => "transport(\"tcp\")".to_owned(),
        Listen::Tls(pki) => format!(
            "transport(\"tls\") tls(ca-file(\"{}\") cert-file(\"{}\") key-file(\"{}\") peer-verify(required-trusted))",
            pki.ca_file().display(),
            pki.server.cert_file.display(),
            pki.server.key_file.display()
        ),
    };
    format!(
        r#"@version: current
options {{ use-dns(no); dns-cache(no); keep-hostname(yes); log-msg-size(65536); stats-freq(0); }};
source messages {{ syslog(ip("127.0.0.1") port({port}) {transport}); }};
destination received {{
    file("{received}" template("${{PRI}}\t${{PROGRAM}}\t${{MSGID}}\t${{.SDATA.miroSiem@32473.org}}\t${{.SDATA.miroSiem@32473.id}}\t${{MSG}}\n"));
}};
log {{ source(messages); destination(received); }};
"#,
        received = dir.join("received").display(),
    )
}
