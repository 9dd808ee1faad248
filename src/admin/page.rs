//! The status page: plain HTML without a script or an external asset, made anew at each request.

use std::fmt::Write;

use super::status::{SinkStatus, Status, StreamStatus};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color-scheme:light dark}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}th,td{text-align:left;padding:.35rem .7rem;border-bottom:1px solid #8884;vertical-align:top}\
td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#c22;font-weight:600}.good{color:#282;font-weight:600}\
@media(prefers-color-scheme:dark){.bad{color:#f77}.good{color:#7d7}}main{overflow-x:auto}";

/// How often a browser asks again, in seconds.
const REFRESH_SECS: u32 = 10;

/// The page for that status.
pub(super) fn render(status: &Status) -> String {
    let mut html = String::with_capacity(8 * 1024);
    let verdict = if status.healthy { "<span class=good>healthy</span>" } else { "<span class=bad>needs attention</span>" };
    let _ = write!(
        html,
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=refresh content={REFRESH_SECS}><title>miro-siem</title><style>{STYLE}</style></head><body><main>\
         <h1>miro-siem {}</h1><p>{verdict} at {}, running since {}</p>",
        escape(&status.version),
        escape(&status.now),
        escape(&status.started_at)
    );
    if !status.problems.is_empty() {
        html.push_str("<ul>");
        for problem in &status.problems {
            let _ = write!(html, "<li class=bad>{}</li>", escape(problem));
        }
        html.push_str("</ul>");
    }
    html.push_str("<h2>Streams</h2><table><thead><tr><th>stream<th>state<th>collected up to<th>lag<th>events<th>gaps<th>last error</tr></thead><tbody>");
    status.streams.iter().for_each(|row| stream(&mut html, row));
    html.push_str("</tbody></table><h2>Sinks</h2><table><thead><tr><th>sink<th>state<th>delivered<th>backlog<th>oldest<th>dead letters<th>last error</tr></thead><tbody>");
    status.sinks.iter().for_each(|row| sink(&mut html, row));
    let journal = &status.journal;
    let _ = write!(
        html,
        "</tbody></table><h2>Journal</h2><p>{} events in {} of {} bytes</p><p><a href=/api/v1/status>status as JSON</a> · <a href=/metrics>metrics</a></p></main></body></html>",
        journal.events, journal.bytes, journal.bytes_max
    );
    html
}

fn stream(html: &mut String, row: &StreamStatus) {
    let gap_secs = row.gap_secs();
    let _ = write!(
        html,
        "<tr><td>{}/{}<td class={}>{}<td>{}<td class=n>{}<td class=n>{}<td class=n>{:.0} s<td>{}</tr>",
        escape(&row.org),
        escape(&row.stream),
        class(row.healthy),
        phase(&row.phase),
        escape(row.watermark.as_deref().unwrap_or("–")),
        row.lag_secs.map_or_else(|| "–".to_owned(), |secs| format!("{secs:.0} s")),
        row.events_collected,
        gap_secs,
        escape(row.fault.as_ref().map_or("", |fault| &fault.message))
    );
}

fn sink(html: &mut String, row: &SinkStatus) {
    let _ = write!(
        html,
        "<tr><td>{}<td class={}>{}<td class=n>{}<td class=n>{}<td class=n>{:.0} s<td class=n>{}<td>{}</tr>",
        escape(&row.name),
        class(row.healthy),
        phase(&row.phase),
        row.events_delivered,
        row.backlog_events,
        row.oldest_event_age_secs,
        row.events_dead_lettered,
        escape(row.fault.as_ref().map_or("", |fault| &fault.message))
    );
}

fn class(healthy: bool) -> &'static str {
    if healthy { "good" } else { "bad" }
}

/// The phase as its JSON name, with spaces.
fn phase(phase: &impl serde::Serialize) -> String {
    serde_json::to_value(phase).ok().and_then(|value| value.as_str().map(|name| name.replace('_', " "))).unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
