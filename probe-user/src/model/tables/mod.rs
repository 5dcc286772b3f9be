//! The rows, shares, bins and rankings that every renderer shows.
//!
//! A number that a person can see twice is computed once, here. Text, HTML and the dashboard
//! only decide how a row looks and how many rows there is room for.
//!
//! | file | holds |
//! |---|---|
//! | [`verdicts`] | what became of the unmapped folios |
//! | [`victims`] | who lost mappings to futile unmaps, by process or by cgroup |
//! | [`reclaim`] | unmaps summed by reclaimer, memory and order |
//! | [`subscribers`] | MMU notifier subscribers and their cost |
//! | [`distributions`] | the histograms, with their titles and percentiles |
//! | [`bins`] | the bins of one histogram |

pub mod bins;
pub mod distributions;
pub mod reclaim;
pub mod subscribers;
pub mod verdicts;
pub mod victims;

use std::fmt;

use super::wording;

pub use bins::{Bin, BinRow};
pub use distributions::Distribution;
pub use reclaim::{ReclaimRow, SumBy};
pub use subscribers::SubscriberRow;
pub use verdicts::VerdictRow;
pub use victims::{Per, VictimRow};

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

/// How much attention a value deserves. Renderers choose the colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emphasis {
    /// Nothing of the kind occurred, or it is unknown.
    Absent,
    /// An ordinary value.
    #[default]
    Plain,
    /// Work that was wasted without being futile.
    Doubtful,
    /// Futile work.
    Futile,
}

impl Emphasis {
    /// That of a count of futile unmaps.
    pub const fn futile(n: u64) -> Self {
        if n > 0 { Self::Futile } else { Self::Plain }
    }
}

/// Splits ranked rows into the first `limit` and those that only their sums represent.
pub fn ranked<T>(rows: &[T], limit: usize) -> (&[T], &[T]) {
    rows.split_at(limit.min(rows.len()))
}

/// The sum of one count over `rows`, saturating.
pub fn total<T>(rows: &[T], count: impl Fn(&T) -> u64) -> u64 {
    rows.iter()
        .fold(0, |sum: u64, row| sum.saturating_add(count(row)))
}
