//! The bins of one histogram, alike in every renderer.
//!
//! A renderer that has room for fewer rows gets coarser bins whose edges are edges of the finer
//! ones too, so that two renderers never draw different distributions.

use std::ops::{Range, RangeInclusive};

use probe_ebpf::hist;

use crate::model::{
    capture::{HistogramReport, Number, Unit},
    wording,
};

/// Rows of a distribution where there is room for them.
pub const ROWS: usize = 10;

/// The values of one bin, in the kernel side's unit (ns for times).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bin {
    /// The smallest value.
    pub lower: u64,
    /// The largest value.
    pub upper: u64,
    /// The number of values.
    pub count: u64,
}

/// A row of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinRow {
    /// A bin, which may be empty.
    Bin(Bin),
    /// Two or more empty bins in a row.
    Gap,
}

impl BinRow {
    /// The bin; `None` for a gap.
    pub const fn bin(&self) -> Option<&Bin> {
        match self {
            BinRow::Bin(bin) => Some(bin),
            BinRow::Gap => None,
        }
    }
}

impl Bin {
    /// Both bounds in words; times as `from to`, where the next bin begins.
    pub fn range(&self, unit: Unit) -> String {
        let (lower, upper) = (self.lower, self.upper);
        match unit {
            Unit::Seconds => format!("{} to {}", raw(unit, lower), {
                raw(unit, upper.saturating_add(1))
            }),
            _ if lower == upper => raw(unit, lower),
            _ => format!("{} to {}", raw(unit, lower), raw(unit, upper)),
        }
    }

    /// The lower bound in words.
    pub fn from(&self, unit: Unit) -> String {
        raw(unit, self.lower)
    }
}

/// A value in the kernel side's unit, in words.
pub fn raw(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Seconds => wording::duration(value as f64 / 1e9),
        Unit::References | Unit::Unmaps => wording::count(value),
    }
}

/// The rows of `h`, smallest values first: at most [`ROWS`], and at most `room` where a renderer
/// has less. Nothing is left out: the counts add up to `h.count`.
pub fn bins(h: &HistogramReport, room: usize) -> Vec<BinRow> {
    let room = room.clamp(1, ROWS);
    let counted: Vec<(u64, u64)> = h
        .buckets
        .iter()
        .map(|(upper, n)| (h.unit.raw(*upper), *n))
        .collect();
    if h.unit != Unit::Seconds && counted.len() <= room {
        return exact(h, &counted);
    }
    let step = least_step(&counted);
    // Multiples of the step keep its edges.
    (1..=64)
        .map(|times| by_powers(&counted, (step * times).min(64)))
        .find(|rows| rows.len() <= room)
        .unwrap_or_else(|| by_powers(&counted, 64))
}

/// The powers of two in a row of `counted` where there is room for [`ROWS`].
fn least_step(counted: &[(u64, u64)]) -> u32 {
    (1..=64)
        .find(|step| by_powers(counted, *step).len() <= ROWS)
        .unwrap_or(64)
}

/// The bands of a heat map of `h`: ranges of powers of two, smallest first, that cover `powers`,
/// at most `room`. Power n stands for the values whose highest bit is bit n − 1. The edges are
/// edges of [`bins`], or lie between them.
pub fn bands(
    h: Option<&HistogramReport>,
    powers: RangeInclusive<usize>,
    room: usize,
) -> Vec<Range<usize>> {
    let counted = h.map(|h| {
        let raw = h.buckets.iter().map(|(upper, n)| (h.unit.raw(*upper), *n));
        raw.collect::<Vec<_>>()
    });
    let least = counted.map_or(1, |counted| least_step(&counted)) as usize;
    let (first, last) = (*powers.start(), *powers.end());
    let rows = |step: usize| last / step - first / step + 1;
    let step = (1..=64)
        .map(|times| least * times)
        .find(|step| rows(*step) <= room.max(1))
        .unwrap_or(64);
    (first / step..=last / step)
        .map(|row| row * step..(row + 1) * step)
        .collect()
}

/// The smallest value of a power of two, as in [`bands`].
pub const fn lowest(power: usize) -> u64 {
    if power == 0 { 0 } else { 1 << (power - 1) }
}

/// One row for each bucket in use.
fn exact(h: &HistogramReport, counted: &[(u64, u64)]) -> Vec<BinRow> {
    let bound = |v: Option<Number>| v.map(|v| h.unit.raw(v));
    let rows = counted.iter().map(|&(upper, count)| {
        let lower = hist::lower(hist::bucket_of(upper)).max(bound(h.min).unwrap_or(0));
        let upper = upper.min(bound(h.max).unwrap_or(upper));
        BinRow::Bin(Bin {
            lower: lower.min(upper),
            upper,
            count,
        })
    });
    rows.collect()
}

/// One row for every `step` powers of two.
fn by_powers(counted: &[(u64, u64)], step: u32) -> Vec<BinRow> {
    let row_of = |v: u64| (64 - v.leading_zeros()) / step;
    let mut counts = vec![0u64; 65];
    for &(upper, n) in counted {
        let count = &mut counts[row_of(upper) as usize];
        *count = count.saturating_add(n);
    }
    let (Some(first), Some(last)) = (
        counts.iter().position(|n| *n > 0),
        counts.iter().rposition(|n| *n > 0),
    ) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    let mut index = first;
    while index <= last {
        let empty = counts[index..=last].iter().take_while(|n| **n == 0).count();
        if empty > 1 {
            rows.push(BinRow::Gap);
            index += empty;
            continue;
        }
        let bits = index as u32 * step;
        rows.push(BinRow::Bin(Bin {
            lower: if bits == 0 {
                0
            } else {
                1u64 << (bits - 1).min(63)
            },
            upper: 1u64
                .checked_shl(bits + step - 1)
                .map_or(u64::MAX, |v| v - 1),
            count: counts[index],
        }));
        index += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::histogram::of;

    fn all() -> Vec<HistogramReport> {
        let values: [Vec<u64>; 5] = [
            vec![0],
            vec![1, 2, 3],
            (0..63).map(|e| 1 << e).collect(),
            vec![5, 1 << 35],
            (0..2000).map(|v| v * v).collect(),
        ];
        let units = [Unit::Seconds, Unit::References];
        let reports = values.iter().flat_map(|v| {
            units
                .into_iter()
                .map(|unit| HistogramReport::new(unit, &of(v)))
        });
        reports.collect()
    }

    #[test]
    fn rows_are_few_and_lose_nothing() {
        for h in all() {
            for room in [1, 2, 3, 7, 10, 100] {
                let rows = bins(&h, room);
                assert!(rows.len() <= room.min(ROWS), "{room}: {rows:?}");
                let shown: u64 = rows.iter().filter_map(BinRow::bin).map(|b| b.count).sum();
                assert_eq!(shown, h.count, "{rows:?}");
            }
        }
    }

    /// Every edge of a coarser drawing is an edge of the finest one.
    #[test]
    fn coarser_bins_keep_the_edges_of_finer_ones() {
        for h in all().iter().filter(|h| h.unit == Unit::Seconds) {
            let finest = bins(h, ROWS);
            for room in 1..ROWS {
                for row in bins(h, room).iter().filter_map(BinRow::bin) {
                    let split = finest
                        .iter()
                        .filter_map(BinRow::bin)
                        .any(|f| f.lower < row.lower && row.lower <= f.upper);
                    assert!(!split, "{row:?} in {room} rows of {finest:?}");
                }
            }
        }
    }

    #[test]
    fn a_heat_map_keeps_the_edges_of_the_bins() {
        for h in all().iter().filter(|h| h.unit == Unit::Seconds) {
            let finest = bins(h, ROWS);
            for room in 1..12 {
                let bands = bands(Some(h), 3..=30, room);
                assert!(bands.len() <= room && bands[0].start <= 3, "{bands:?}");
                assert!(bands.last().is_some_and(|b| b.end > 30), "{bands:?}");
                for band in bands {
                    let edge = lowest(band.start);
                    let split = finest
                        .iter()
                        .filter_map(BinRow::bin)
                        .any(|f| f.lower < edge && edge <= f.upper);
                    assert!(!split, "{edge} in {finest:?}");
                }
            }
        }
    }

    #[test]
    fn small_counts_have_rows_of_their_own() {
        let h = HistogramReport::new(Unit::References, &of(&[1, 1, 1024]));
        let bin = |at, count| {
            BinRow::Bin(Bin {
                lower: at,
                upper: at,
                count,
            })
        };
        assert_eq!(bins(&h, ROWS), [bin(1, 2), bin(1024, 1)]);
    }
}
