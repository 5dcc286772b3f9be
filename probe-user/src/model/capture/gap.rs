//! Answers that are missing or weaker than usual.

use serde::{Deserialize, Serialize};

/// An answer that is missing or weaker than usual, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The answer.
    pub what: String,
    /// Why it is missing or weaker.
    pub why: String,
}
