//! What a capture means: one answer, and findings with causes and advice. Pure rules over the
//! capture's numbers.

mod answer;
mod digest;
mod rules;
mod trust;

pub use answer::answer;

use self::digest::Facts;
use super::capture::{Capture, Finding};

/// All findings of a capture, gravest first.
pub fn findings(capture: &Capture) -> Vec<Finding> {
    let facts = Facts::new(capture);
    let mut found = rules::findings(&facts);
    found.extend(trust::findings(&facts));
    // Stable: within a severity the rules' order, causes before costs before trust.
    found.sort_by_key(|f| f.severity);
    found
}
