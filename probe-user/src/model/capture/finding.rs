//! Findings: conclusions from the numbers, with a cause and advice.

use serde::{Deserialize, Serialize};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Most of reclaim's work is wasted, and there is much of it.
    Critical,
    /// Work is wasted, or an answer cannot be trusted fully.
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

/// One conclusion from the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its stable name.
    pub id: String,
    /// Its severity.
    pub severity: Severity,
    /// What was seen, with numbers.
    pub text: String,
    /// What to do about it, or how to read it.
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
