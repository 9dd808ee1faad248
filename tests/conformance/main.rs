//! The conformance suite: every sink, through the real driver, against its receiver, in every case that a delivery can meet.
//!
//! It prints a table, sink by case. A case that cannot exist for a sink says why, in the sink's own file; there is no silent skip.
//!
//! To add a sink: one file in `subjects/` that implements [`subject::Subject`] (how to make the sink, how to make its receiver behave, what
//! has arrived), and one line in [`sinks!`] below. `cargo test --test conformance <name>` runs that sink's cases alone.

mod bench;
mod cases;
#[path = "../sinks/support/journal.rs"]
#[allow(dead_code, reason = "what other tests of the driver need of the journal")]
mod journal;
mod observer;
#[path = "../receivers/real/mod.rs"]
#[allow(dead_code, reason = "what other tests need of real receivers")]
mod real;
mod subject;
mod subjects;
mod table;

use table::Row;

/// Declares the sinks: for each a test that runs its cases, and a row of the table.
macro_rules! sinks {
    ($($name:ident: $subject:path),* $(,)?) => {
        $(
            mod $name {
                static ROW: tokio::sync::OnceCell<crate::table::Row> = tokio::sync::OnceCell::const_new();

                pub(crate) async fn row() -> &'static crate::table::Row {
                    ROW.get_or_init(|| crate::cases::run(stringify!($name), || Box::pin($subject()))).await
                }

                #[test]
                fn passes_every_case_that_it_can_meet() {
                    crate::table::check(crate::table::block_on(row()));
                }
            }
        )*

        /// Every sink's row, in the order of declaration.
        async fn rows() -> Vec<&'static Row> {
            vec![$($name::row().await),*]
        }
    };
}

sinks! {
    splunk_hec: crate::subjects::splunk_hec::without_ack,
    splunk_hec_ack: crate::subjects::splunk_hec::with_ack,
    splunk_hec_logscale: crate::subjects::hec_dialects::logscale,
    splunk_hec_cribl: crate::subjects::hec_dialects::cribl,
    azure_monitor: crate::subjects::azure_monitor::start,
    sumo: crate::subjects::sumo::start,
    http: crate::subjects::http_webhook::start,
    elasticsearch: crate::subjects::elasticsearch::start,
    nats: crate::subjects::nats::start,
    otlp: crate::subjects::otlp::protobuf,
    otlp_json: crate::subjects::otlp::json,
    syslog_relp: crate::subjects::relp::start,
    s3: crate::subjects::s3::start,
    syslog_tcp: crate::subjects::syslog::tcp,
    syslog_udp: crate::subjects::syslog::udp,
    file: crate::subjects::file::start,
    stdout: crate::subjects::stdout::start,
}

#[test]
fn the_table_of_sinks_and_cases_has_no_hole() {
    let rows = table::block_on(rows());
    table::print(&rows);
    rows.iter().for_each(|row| table::check(row));
}
