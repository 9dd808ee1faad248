//! The streams of a data collection rule.

/// Columns of Miro's audit stream (the Microsoft Sentinel solution "Miro", version 3.0.0).
const AUDIT_COLUMNS: [&str; 9] = ["id", "event", "category", "type", "createdAt", "createdBy", "context", "details", "object"];
/// Columns of Miro's content stream, from the same solution.
const CONTENT_COLUMNS: [&str; 9] = ["id", "contentId", "actionType", "actionTime", "actor", "itemType", "itemId", "state", "relationships"];

/// What a stream declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSchema {
    pub name: String,
    pub columns: Vec<String>,
    /// The column that the transformation turns into `TimeGenerated`.
    pub time_column: String,
}

impl StreamSchema {
    pub fn new(name: &str, columns: &[&str], time_column: &str) -> Self {
        Self {
            name: name.to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            time_column: time_column.to_owned(),
        }
    }

    /// The two streams of Miro's own Sentinel solution.
    pub fn miro() -> Vec<Self> {
        vec![
            Self::new("Custom-MiroAuditLogs_CL", &AUDIT_COLUMNS, "createdAt"),
            Self::new("Custom-MiroContentLogs_CL", &CONTENT_COLUMNS, "actionTime"),
        ]
    }
}
