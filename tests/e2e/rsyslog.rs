//! A real rsyslogd with a configuration of its own: TCP with octet counting, and TLS that asks for a client certificate.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use testbed::ca::CaFiles;

use crate::daemon::free_port;

/// A running rsyslogd; stopped when it is dropped.
pub(crate) struct Rsyslog {
    child: Child,
    pub(crate) tcp_port: u16,
    pub(crate) tls_port: u16,
    pub(crate) tcp_file: PathBuf,
    pub(crate) tls_file: PathBuf,
}

impl Rsyslog {
    pub(crate) fn start(dir: &Path, ca: &CaFiles) -> Self {
        fs::create_dir_all(dir).expect("a directory for rsyslog");
        let (tcp_port, tls_port) = (free_port(), free_port());
        let (tcp_file, tls_file) = (dir.join("tcp.ndjson"), dir.join("tls.ndjson"));
        let config = dir.join("rsyslog.conf");
        fs::write(&config, configuration(ca, tcp_port, tls_port, &tcp_file, &tls_file, dir)).expect("rsyslog's configuration is written");
        let child = Command::new("rsyslogd")
            .args(["-n", "-f"])
            .arg(&config)
            .arg("-i")
            .arg(dir.join("pid"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("stderr")).expect("a file for rsyslog's messages"))
            .spawn()
            .expect("rsyslogd starts: install the Debian packages rsyslog and rsyslog-gnutls");
        let rsyslog = Self { child, tcp_port, tls_port, tcp_file, tls_file };
        rsyslog.await_port(tcp_port, dir);
        rsyslog.await_port(tls_port, dir);
        rsyslog
    }

    fn await_port(&self, port: u16, dir: &Path) {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = || fs::read_to_string(dir.join("stderr")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(15), "rsyslogd does not listen on {port}; it said: {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(ca: &CaFiles, tcp_port: u16, tls_port: u16, tcp_file: &Path, tls_file: &Path, dir: &Path) -> String {
    format!(
        r#"global(workDirectory="{dir}" maxMessageSize="512k" parser.escapeControlCharactersOnReceive="off"
       defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" maxSessions="100")
template(name="message" type="string" string="%msg%\n")
ruleset(name="tcp") {{ action(type="omfile" file="{tcp_file}" template="message") }}
ruleset(name="tls") {{ action(type="omfile" file="{tls_file}" template="message") }}
input(type="imtcp" address="127.0.0.1" port="{tcp_port}" ruleset="tcp")
input(type="imtcp" address="127.0.0.1" port="{tls_port}" ruleset="tls" streamDriver.name="gtls" streamDriver.mode="1"
      streamDriver.authMode="x509/certvalid")
"#,
        dir = dir.display(),
        ca = ca.ca.display(),
        cert = ca.server_certificate.display(),
        key = ca.server_key.display(),
        tcp_file = tcp_file.display(),
        tls_file = tls_file.display(),
    )
}
