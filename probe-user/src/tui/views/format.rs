//! How counts become cells.

use crate::{
    model::{
        tables::{Emphasis, Share},
        wording,
    },
    tui::{table::Cell, theme::Ink},
};

/// How counts are shown: as they are, or per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tui) struct Scale {
    /// The seconds to divide by; `None` shows totals.
    pub(in crate::tui) per: Option<f64>,
}

impl Scale {
    /// A count.
    pub(super) fn count(self, n: Option<u64>) -> Cell {
        match self.per {
            None => Cell::number(n.map(|n| n as f64), |n| wording::count(n as u64)),
            Some(_) => Cell::number(self.per_second(n.map(|n| n as f64)), rate),
        }
    }

    /// The size of pages.
    pub(super) fn bytes(self, pages: Option<u64>) -> Cell {
        Cell::number(self.per_second(pages.map(|n| n as f64)), |n| {
            wording::pages(n.round() as u64)
        })
    }

    /// A time.
    pub(super) fn seconds(self, s: Option<f64>) -> Cell {
        Cell::number(self.per_second(s), wording::duration)
    }

    /// The heading of a count.
    pub(super) fn title(self, total: &'static str, rate: &'static str) -> &'static str {
        if self.per.is_some() { rate } else { total }
    }

    fn per_second(self, n: Option<f64>) -> Option<f64> {
        match self.per {
            None => n,
            Some(seconds) => n.filter(|_| seconds > 0.0).map(|n| n / seconds),
        }
    }
}

/// A rate in few characters.
pub(in crate::tui) fn rate(n: f64) -> String {
    if n == 0.0 {
        "0".into()
    } else if n < 10.0 {
        format!("{n:.1}")
    } else {
        wording::count(n.round() as u64)
    }
}

/// A share, as a percentage.
pub(super) fn share(share: Option<Share>) -> Cell {
    match share {
        Some(share) => Cell::number(share.ratio(), |_| share.to_string()),
        None => Cell::unknown(),
    }
}

/// The ink for a value that deserves this much attention.
pub(super) fn ink(emphasis: Emphasis) -> Ink {
    match emphasis {
        Emphasis::Absent => Ink::Dim,
        Emphasis::Plain => Ink::Plain,
        Emphasis::Doubtful => Ink::Warn,
        Emphasis::Futile => Ink::Bad,
    }
}
