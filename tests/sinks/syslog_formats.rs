//! Every format over every transport arrives at real receivers as it was written: at rsyslogd, and at syslog-ng as a second reader.

use miro_siem::{
    config::settings::{Format, SyslogTransport},
    event::{Event, EventId},
    sink::{Receipt, syslog::SyslogSink},
};

use crate::support::{
    pki::Pki,
    records::{Records, events},
    rsyslog::{Listen, Rsyslog},
    syslog::{sink, tls_sink},
    syslog_ng::{self, SyslogNg},
};

const FORMATS: [Format; 3] = [Format::Raw, Format::Cef, Format::Leef];

/// Events with what the formats escape, beside what a text may hold.
fn odd_events() -> Vec<Event> {
    let names = ["a=b|c\\\\d", "tab\\there", "line\\nbreak\\r", "caret^pipe|", "ünï 漢字 🦀", "quote\\\"]"];
    let with = |(index, name): (usize, &&str)| {
        let (id, event) = (format!("odd-{index}"), events(0..1).remove(0));
        let raw = format!(
            r#"{{"id":"{id}","event":"board_opened","createdBy":{{"type":"user","id":"30","email":"ada{index}@example.com","name":"{name}"}},"context":{{"ip":"2001:db8::{index}","team":{{"id":"1","name":"{name}"}}}},"object":{{"id":"uXjV=","name":"{name}"}},"details":{{"role":"{name}"}}}}"#
        );
        Event { id: EventId::new(id), raw: raw.into(), ..event }
    };
    let mut all: Vec<Event> = names.iter().enumerate().map(with).collect();
    all.extend(events(0..200));
    all
}

/// Delivers the odd events in every format and looks at what has arrived.
async fn check(listen: &Listen<'_>, new_sink: impl Fn(u16) -> SyslogSink) {
    for format in FORMATS {
        let dir = tempfile::tempdir().expect("a directory");
        let mut rsyslog = Rsyslog::start(dir.path(), listen);
        let records = Records::in_format(format, odd_events());
        assert_eq!(records.deliver(&new_sink(rsyslog.port).with_format(format)).await, Ok(Receipt::All), "{format:?}");
        rsyslog.assert_received(&[&records]);
    }
}

#[tokio::test]
async fn json_cef_and_leef_arrive_over_udp_to_the_byte() {
    check(&Listen::Udp, |port| sink(SyslogTransport::Udp, port)).await;
}

#[tokio::test]
async fn json_cef_and_leef_arrive_over_tcp_to_the_byte() {
    check(&Listen::Tcp, |port| sink(SyslogTransport::Tcp, port)).await;
}

#[tokio::test]
async fn json_cef_and_leef_arrive_over_relp_to_the_byte() {
    check(&Listen::Relp, |port| sink(SyslogTransport::Relp, port)).await;
}

#[tokio::test]
async fn json_cef_and_leef_arrive_over_tls_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new(dir.path());
    check(&Listen::Tls(&pki), |port| tls_sink(SyslogTransport::Tls, port, &pki.ca_file(), Some(&pki.client))).await;
}

#[tokio::test]
async fn json_cef_and_leef_arrive_over_relp_and_tls_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new(dir.path());
    check(&Listen::RelpTls(&pki), |port| tls_sink(SyslogTransport::RelpTls, port, &pki.ca_file(), Some(&pki.client))).await;
}

/// The same at syslog-ng, with what it has parsed out of header and structured data.
async fn check_second_reader(listen: &syslog_ng::Listen<'_>, new_sink: impl Fn(u16) -> SyslogSink) {
    for format in FORMATS {
        let dir = tempfile::tempdir().expect("a directory");
        let mut syslog_ng = SyslogNg::start(dir.path(), listen);
        let records = Records::in_format(format, odd_events());
        assert_eq!(records.deliver(&new_sink(syslog_ng.port).with_format(format)).await, Ok(Receipt::All), "{format:?}");
        let expected = records.events.iter().zip(records.expected()).map(|(event, (_, message))| syslog_ng::Parsed {
            priority: "109".to_owned(),
            app_name: "miro-siem".to_owned(),
            msgid: "board_opened".to_owned(),
            org: "acme".to_owned(),
            id: event.id.to_string(),
            message,
        });
        let (expected, received) = (expected.collect::<Vec<_>>(), syslog_ng.received_after(records.events.len()));
        assert_eq!(received.len(), expected.len());
        for (received, expected) in received.iter().zip(&expected) {
            assert_eq!(received, expected, "{format:?}");
        }
    }
}

#[tokio::test]
async fn syslog_ng_reads_the_same_over_tcp() {
    check_second_reader(&syslog_ng::Listen::Tcp, |port| sink(SyslogTransport::Tcp, port)).await;
}

#[tokio::test]
async fn syslog_ng_reads_the_same_over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new(dir.path());
    check_second_reader(&syslog_ng::Listen::Tls(&pki), |port| tls_sink(SyslogTransport::Tls, port, &pki.ca_file(), Some(&pki.client)))
        .await;
}
