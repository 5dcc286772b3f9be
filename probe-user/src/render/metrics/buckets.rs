//! Histograms for Prometheus, made of the kernel's buckets without observing a value again.

use probe_ebpf::hist;

use super::value::{Buckets, Native};
use crate::snapshot::Histogram;

/// Exponents k of the classic bounds 2^k − 1 of times, in ns: 1.023 µs to 4.29 s; a factor of 2
/// apart up to 16.8 ms, which is where unmaps are slow and not yet stuck.
const TIMES: [u32; 19] = [
    10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 28, 30, 32,
];
/// Exponents of the classic bounds of references: 1023 separates pinned small folios from others.
const REFERENCES: [u32; 10] = [1, 2, 3, 4, 6, 8, 10, 11, 12, 14];

/// The meaning of a histogram's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Times in nanoseconds, exported as seconds. The kernel side counts them in octaves
    /// ([`hist::octave_of`]).
    Times,
    /// Numbers of references.
    References,
}

impl Of {
    fn powers(self) -> &'static [u32] {
        match self {
            Of::Times => &TIMES,
            Of::References => &REFERENCES,
        }
    }

    /// The native resolution: 2^schema buckets per power of two.
    const fn schema(self) -> i32 {
        match self {
            Of::Times => 0,
            // The kernel has sixteen, of equal width.
            Of::References => 3,
        }
    }

    /// Converts a raw value to the exported unit.
    pub fn scale(self, raw: u64) -> f64 {
        match self {
            Of::Times => raw as f64 / 1e9,
            Of::References => raw as f64,
        }
    }
}

/// Converts a histogram of the kernel side.
///
/// A classic bound is the largest value of a kernel bucket, 2^k − 1 in the kernel's unit, so that
/// `le` is exact for every value. The bounds of native buckets are not edges of kernel buckets: a
/// kernel bucket counts where its middle lies. So a number of references within 1/32 of a bound may
/// be counted one bucket off, and a time within 1/13 of it.
pub fn exported(h: &Histogram, of: Of) -> Buckets {
    let count = h.buckets.iter().fold(0u64, |n, c| n.saturating_add(*c));
    let mut classic = Vec::with_capacity(of.powers().len() + 1);
    let mut from = 0;
    for power in of.powers() {
        let bound = (1u64 << power) - 1;
        let to = hist::bucket_of(bound) + 1;
        classic.push((of.scale(bound), sum(h, from, to)));
        from = to;
    }
    classic.push((f64::INFINITY, sum(h, from, h.buckets.len())));
    Buckets {
        sum: of.scale(h.sum),
        count,
        classic,
        native: Some(native(h, of)),
        exemplars: Vec::new(),
    }
}

/// Returns the index of the classic bucket that holds a raw value.
pub fn classic_of(raw: u64, of: Of) -> usize {
    of.powers()
        .iter()
        .position(|p| raw < 1 << p)
        .unwrap_or(of.powers().len())
}

fn sum(h: &Histogram, from: usize, to: usize) -> u64 {
    h.buckets
        .iter()
        .take(to)
        .skip(from)
        .fold(0, |n: u64, c| n.saturating_add(*c))
}

fn native(h: &Histogram, of: Of) -> Native {
    let mut zeroes = 0;
    let mut spans: Vec<(i32, u32)> = Vec::new();
    let mut counts: Vec<(i32, u64)> = Vec::new();
    for (bucket, n) in h.buckets.iter().enumerate().filter(|(_, n)| **n > 0) {
        let bucket = bucket.min(hist::BUCKETS - 1);
        let lower = hist::lower(bucket);
        if bucket == 0 {
            zeroes += n;
            continue;
        }
        // The last bucket has no upper bound.
        let upper = if bucket + 1 < hist::BUCKETS {
            hist::upper(bucket)
        } else {
            lower
        };
        let middle = of.scale(lower + (upper - lower) / 2);
        let index = index(middle, of.schema());
        match counts.last_mut() {
            Some((last, count)) if *last == index => *count += n,
            _ => counts.push((index, *n)),
        }
    }
    let mut deltas = Vec::with_capacity(counts.len());
    let (mut next, mut before) = (0, 0i64);
    for (index, count) in counts {
        match spans.last_mut() {
            Some((_, length)) if index == next => *length += 1,
            _ => spans.push((index - next, 1)),
        }
        next = index + 1;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count.saturating_sub(before));
        before = count;
    }
    Native {
        schema: of.schema(),
        zeroes,
        spans,
        deltas,
    }
}

/// Returns the native bucket of a value: the i with base^(i−1) < value ≤ base^i.
fn index(value: f64, schema: i32) -> i32 {
    let per_octave = f64::from(1 << schema);
    // Slightly less, so that rounding does not lift a value on a bound into the next bucket.
    ((value.log2() * per_octave - 1e-9).ceil()) as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::capture::histogram::of;

    #[test]
    fn bounds_are_edges_of_the_kernels_buckets() {
        for kind in [Of::Times, Of::References] {
            for power in kind.powers() {
                let bound = (1u64 << power) - 1;
                assert_eq!(hist::upper(hist::bucket_of(bound)), bound);
            }
        }
    }

    #[test]
    fn a_pin_is_above_1023() {
        let h = exported(&of(&[1, 1, 1023, 1024, 1024]), Of::References);
        let below: u64 = h
            .classic
            .iter()
            .filter(|(le, _)| *le <= 1023.0)
            .map(|(_, n)| n)
            .sum();
        assert_eq!((below, h.count, h.sum), (3, 5, 3073.0));
    }

    #[test]
    fn spans_and_deltas_add_up() {
        let h = native(
            &of(&[0, 5, 5, 1_000_000, 1_100_000, 1_100_000]),
            Of::References,
        );
        let mut count = 0;
        let total: i64 = h
            .deltas
            .iter()
            .map(|d| {
                count += d;
                count
            })
            .sum();
        assert_eq!((h.zeroes, total), (1, 5));
        let length: u32 = h.spans.iter().map(|(_, l)| l).sum();
        assert_eq!(length as usize, h.deltas.len());
        // The two large ones are neighbours.
        assert_eq!(h.spans.len(), 2);
    }

    proptest! {
        /// Every value is counted at or below each bound that it doesn't exceed.
        #[test]
        fn le_is_exact(values in proptest::collection::vec(0u64..1 << 40, 1..100)) {
            for kind in [Of::Times, Of::References] {
                let h = exported(&of(&values), kind);
                let mut so_far = 0;
                for (le, n) in &h.classic {
                    so_far += n;
                    let truth = values.iter().filter(|v| kind.scale(**v) <= *le).count();
                    prop_assert_eq!(so_far as usize, truth, "at {}", le);
                }
                for v in &values {
                    let (le, n) = h.classic[classic_of(*v, kind)];
                    prop_assert!(kind.scale(*v) <= le && n > 0);
                }
            }
        }

        /// A native bucket holds values that are outside its bounds by 1/32 at most.
        #[test]
        fn native_buckets_are_near(value in 1u64..1 << 35) {
            let h = native(&of(&[value]), Of::References);
            let i = f64::from(h.spans[0].0);
            let (low, high) = (((i - 1.0) / 8.0).exp2(), (i / 8.0).exp2());
            let v = value as f64;
            prop_assert!(v > low * (1.0 - 1.0 / 31.0) && v <= high * (1.0 + 1.0 / 31.0));
        }
    }
}
