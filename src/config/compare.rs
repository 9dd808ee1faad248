//! What can only be judged with the whole configuration in view.

use std::path::Path;

use super::{
    node::Origin,
    problem::{Faulty, Report},
    settings::{Settings, SinkKindSettings, SinkSettings},
};
use crate::event::StreamKind;

/// Compares the parts of the configuration with each other.
pub(super) fn compare(report: &Report, settings: &Settings) -> Result<(), Faulty> {
    warn_of_idle_streams(report, settings);
    warn_of_undelivered_streams(report, settings);
    warn_of_unheard_heartbeats(report, settings);
    refuse_shared_files(report, settings)
}

fn is_collected(settings: &Settings, kind: StreamKind) -> bool {
    settings.orgs.iter().any(|org| org.streams.iter().any(|stream| stream.kind == kind))
}

/// A sink that lists its streams means them to be there.
fn warn_of_idle_streams(report: &Report, settings: &Settings) {
    let of_miro = |sink: &SinkSettings| -> Vec<StreamKind> {
        sink.streams.iter().copied().filter(|kind| StreamKind::OF_MIRO.contains(kind)).collect()
    };
    let listed = settings.sinks.iter().map(|sink| (sink, of_miro(sink))).filter(|(_, streams)| streams.len() < StreamKind::OF_MIRO.len());
    for (sink, streams) in listed {
        for kind in streams.iter().filter(|kind| !is_collected(settings, **kind)) {
            let key = format!("sinks.{}.streams", sink.name);
            report.warning(&key, &Origin::File, format!("lists {kind}, which no organisation collects; add [orgs.<name>.{kind}]"));
        }
    }
}

fn warn_of_undelivered_streams(report: &Report, settings: &Settings) {
    for org in &settings.orgs {
        for stream in org.streams.iter().filter(|stream| !settings.sinks.iter().any(|sink| sink.streams.contains(&stream.kind))) {
            let key = format!("orgs.{}.{}", org.name, stream.kind);
            report.warning(&key, &Origin::File, "is collected, and no sink takes it");
        }
    }
}

fn warn_of_unheard_heartbeats(report: &Report, settings: &Settings) {
    if settings.sinks.iter().any(|sink| sink.streams.contains(&StreamKind::Forwarder)) {
        return;
    }
    for org in &settings.orgs {
        for stream in org.streams.iter().filter(|stream| stream.heartbeat.is_some()) {
            let key = format!("orgs.{}.{}.heartbeat", org.name, stream.kind);
            report.warning(&key, &Origin::File, "is heard by nobody: no sink has forwarder_events = true");
        }
    }
}

/// Two sinks that write to one file would mix their lines.
fn refuse_shared_files(report: &Report, settings: &Settings) -> Result<(), Faulty> {
    let files: Vec<_> = settings
        .sinks
        .iter()
        .filter_map(|sink| match &sink.kind {
            SinkKindSettings::File(file) => Some((&sink.name, &file.path)),
            _ => None,
        })
        .collect();
    let mut found = Ok(());
    for (index, (name, path)) in files.iter().enumerate() {
        if let Some((other, _)) = files[..index].iter().find(|(_, earlier)| earlier == path) {
            let message = format!("is the path of the sink {:?} too; two sinks cannot write to one file", other.as_str());
            found = Err(report.problem(&format!("sinks.{name}.path"), &Origin::File, message));
        }
    }
    found
}

/// Whoever can read the file can use the secrets in it.
#[cfg(unix)]
pub(super) fn warn_of_readable_secrets(report: &Report, path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let is_readable = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0);
    for key in report.literal_secrets().iter().filter(|_| is_readable) {
        let mend = "is written in a file that everybody may read; chmod it to 0640, or name a source: { file = \"…\" }";
        report.warning(key, &Origin::File, mend);
    }
}

/// Permissions are not looked at on other systems.
#[cfg(not(unix))]
pub(super) fn warn_of_readable_secrets(_: &Report, _: &Path) {}
