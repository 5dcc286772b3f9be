//! Shares in percent.

use std::fmt;

use crate::model::wording;

/// A part of a whole. Prints as a percentage that never rounds to "none" or "all".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The part.
    pub part: u64,
    /// The whole; 0: there is nothing to take a part of.
    pub whole: u64,
}

impl Share {
    /// `part` of `whole`.
    pub const fn of(part: u64, whole: u64) -> Self {
        Self { part, whole }
    }

    /// The part as a number from 0 to 1; `None` where the whole is 0.
    pub fn ratio(self) -> Option<f64> {
        (self.whole > 0).then(|| (self.part as f64 / self.whole as f64).min(1.0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&wording::share(self.part, self.whole))
    }
}
