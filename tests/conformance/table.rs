//! The table: sink by case.

use std::{fmt::Write as _, io::Write as _};

use crate::cases::CASES;

/// What became of one case of one sink.
pub(crate) enum Cell {
    Passed,
    /// It cannot exist, for this reason.
    Cannot(&'static str),
    Failed(String),
}

/// What became of a sink.
pub(crate) struct Row {
    pub(crate) sink: &'static str,
    pub(crate) cells: Vec<Cell>,
}

/// Runs on a runtime of its own: rows are shared by tests, each of which has its own thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    miro_siem::net::install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// Fails with every case that failed.
#[track_caller]
pub(crate) fn check(row: &Row) {
    let failed: Vec<String> = CASES
        .iter()
        .zip(&row.cells)
        .filter_map(|(case, cell)| match cell {
            Cell::Failed(why) => Some(format!("{}: {}: {why}", row.sink, case.name)),
            Cell::Passed | Cell::Cannot(_) => None,
        })
        .collect();
    assert_eq!(row.cells.len(), CASES.len(), "{}: every case has a result", row.sink);
    assert!(row.cells.iter().any(|cell| matches!(cell, Cell::Passed)), "{}: a sink that meets no case was not tested", row.sink);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Prints the table past the test harness, which would hold it back.
pub(crate) fn print(rows: &[&Row]) {
    let mut out = std::io::stdout().lock();
    out.write_all(text(rows).as_bytes()).and_then(|()| out.flush()).expect("stdout takes the table");
}

fn text(rows: &[&Row]) -> String {
    let mut text = String::from("\nconformance: sink by case\n");
    let width = rows.iter().map(|row| row.sink.len()).max().unwrap_or_default();
    let mut reasons: Vec<&str> = Vec::new();
    let _ = writeln!(text, "{:width$}  {}", "", CASES.map(|case| format!("{:^12}", case.short)).join(" "));
    for row in rows {
        let cells: Vec<String> = row
            .cells
            .iter()
            .map(|cell| match cell {
                Cell::Passed => "ok".to_owned(),
                Cell::Failed(_) => "FAILED".to_owned(),
                Cell::Cannot(why) => {
                    let number = reasons.iter().position(|known| known == why).unwrap_or_else(|| {
                        reasons.push(why);
                        reasons.len() - 1
                    });
                    format!("- ({})", number + 1)
                }
            })
            .collect();
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:^12}")).collect();
        let _ = writeln!(text, "{:width$}  {}", row.sink, cells.join(" "));
    }
    for (number, why) in reasons.iter().enumerate() {
        let _ = writeln!(text, "({}) {why}", number + 1);
    }
    text
}
