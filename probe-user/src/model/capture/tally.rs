//! Counts of folios and pages.

use serde::{Deserialize, Serialize};

/// Folios and their pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Unmapped folios.
    pub folios: u64,
    /// Pages of these folios.
    pub pages: u64,
}

/// All unmaps of one verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictTotal {
    /// Unmapped folios.
    pub folios: u64,
    /// Pages of these folios.
    pub pages: u64,
    /// Notifier calls in these unmaps; `None`: not measured.
    #[serde(default)]
    pub notifier_calls: Option<u64>,
}

/// The sum of tallies, saturating.
pub(crate) fn sum(tallies: impl Iterator<Item = Tally>) -> Tally {
    tallies.fold(Tally::default(), |a, b| Tally {
        folios: a.folios.saturating_add(b.folios),
        pages: a.pages.saturating_add(b.pages),
    })
}
