//! Findings: what the numbers say, with a cause and advice.

use serde::{Deserialize, Serialize};

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Reclaim's work is mostly lost, and there is much of it.
    Critical,
    /// Something is wasted, or an answer can't be trusted fully.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word that outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// One thing that the numbers say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its stable name.
    pub id: String,
    /// How grave it is.
    pub severity: Severity,
    /// What was seen, with numbers.
    pub text: String,
    /// What to do about it, or how to take it.
    pub advice: String,
}

impl Finding {
    pub(crate) fn new(
        id: impl Into<String>,
        severity: Severity,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            severity,
            text: text.into(),
            advice: advice.into(),
        }
    }
}
