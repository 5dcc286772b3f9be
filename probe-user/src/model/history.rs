//! The last minutes, sample by sample: the bounded data of sparklines and heat maps.

use std::collections::VecDeque;

use probe_ebpf::Verdict;

use super::interval::Interval;
use crate::snapshot::{Histogram, Snapshot};

/// The number of samples that are remembered.
pub const SAMPLES: usize = 300;
/// The powers of two that a heat map distinguishes.
pub const POWERS: usize = 40;

/// Counts by power of two: `[n]` holds values whose highest bit is bit n − 1, `[0]` zeroes.
pub type Column = [u32; POWERS];

/// One sample of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What happened since the sample before.
    pub interval: Interval,
    /// Times of futile unmaps since then, in ns.
    pub unmap: Column,
    /// Their excess references.
    pub excess: Column,
}

/// The last [`SAMPLES`] samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    points: VecDeque<Point>,
}

impl History {
    /// Adds a sample. The rates of the first one are since the attach.
    pub fn push(&mut self, previous: Option<&Snapshot>, now: &Snapshot) {
        if self.points.len() >= SAMPLES {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            interval: Interval::new(None, previous, now),
            unmap: futile(previous, now),
            excess: column(previous.map(|s| &s.excess), &now.excess),
        });
    }

    /// All samples, oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Point> + ExactSizeIterator {
        self.points.iter()
    }

    /// The newest sample.
    pub fn last(&self) -> Option<&Point> {
        self.points.back()
    }

    /// Removes all samples.
    pub fn clear(&mut self) {
        self.points.clear();
    }
}

fn futile(previous: Option<&Snapshot>, now: &Snapshot) -> Column {
    let mut all: Column = [0; POWERS];
    for verdict in [Verdict::FutilePinned, Verdict::FutileReferenced] {
        let Some(h) = now.unmap_ns.get(&verdict) else {
            continue;
        };
        let earlier = previous.and_then(|s| s.unmap_ns.get(&verdict));
        for (sum, n) in all.iter_mut().zip(column(earlier, h)) {
            *sum = sum.saturating_add(n);
        }
    }
    all
}

fn column(earlier: Option<&Histogram>, now: &Histogram) -> Column {
    let mut column: Column = [0; POWERS];
    for (bucket, n) in now.buckets.iter().enumerate() {
        let before = earlier.and_then(|e| e.buckets.get(bucket)).unwrap_or(&0);
        let new = n.saturating_sub(*before);
        if new > 0 {
            let lower = probe_ebpf::hist::lower(bucket.min(probe_ebpf::hist::BUCKETS - 1));
            let power = ((64 - lower.leading_zeros()) as usize).min(POWERS - 1);
            let new = u32::try_from(new).unwrap_or(u32::MAX);
            column[power] = column[power].saturating_add(new);
        }
    }
    column
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::histogram::of;

    #[test]
    fn columns_are_differences_by_powers() {
        let (a, b) = (of(&[1, 5, 1024]), of(&[1, 5, 5, 7, 1024, 0]));
        let column = column(Some(&a), &b);
        assert_eq!(column[0], 1);
        assert_eq!(column[3], 2);
        assert_eq!(column.iter().sum::<u32>(), 3);
    }
}
