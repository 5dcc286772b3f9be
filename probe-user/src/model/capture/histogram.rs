//! Histograms as outputs show them.

use probe_ebpf::hist;
use serde::{Deserialize, Serialize, Serializer};

use crate::snapshot::Histogram;

/// The significant digits that hdrhistogram keeps: its error is far below that of the buckets.
const DIGITS: u8 = 3;
/// The bits of a count that can be summed over all buckets without overflow.
const COUNT_BITS: u32 = 64 - hist::BUCKETS.ilog2() - 1;
/// Nanoseconds in a second.
const NS: f64 = 1e9;

/// A number that JSON shows without a fraction where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(transparent)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Up to 2^53 every whole f64 is exactly that integer.
        if self.0 >= 0.0 && self.0 <= 9_007_199_254_740_992.0 && self.0.fract() == 0.0 {
            serializer.serialize_u64(self.0 as u64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// The unit of a histogram's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Durations; the kernel side counts them in ns.
    Seconds,
    /// References to a folio.
    References,
    /// Unmaps of one folio.
    Unmaps,
}

impl Unit {
    /// Converts a raw value to this unit.
    fn scale(self, raw: u64) -> Number {
        Number(match self {
            Unit::Seconds => raw as f64 / NS,
            Unit::References | Unit::Unmaps => raw as f64,
        })
    }

    /// Converts a value in this unit to the kernel side's raw value.
    pub fn raw(self, value: Number) -> u64 {
        match self {
            Unit::Seconds => (value.0 * NS).round() as u64,
            Unit::References | Unit::Unmaps => value.0 as u64,
        }
    }
}

/// A histogram as outputs show it. A percentile is the middle of its bucket, so its relative
/// error is at most [`hist::RELATIVE_ERROR`] (more from 2^36 on, in the last bucket). `count`,
/// `sum`, `min` and `max` are exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramReport {
    /// The unit of all values.
    pub unit: Unit,
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: Number,
    /// The smallest; `None`: no value. Of a difference of two snapshots: at least this.
    pub min: Option<Number>,
    /// The largest; `None`: no value. Of a difference of two snapshots: at most this.
    pub max: Option<Number>,
    /// Half of the values are at most this.
    pub p50: Option<Number>,
    /// 90 % of the values are at most this.
    pub p90: Option<Number>,
    /// 99 % of the values are at most this.
    pub p99: Option<Number>,
    /// 99.9 % of the values are at most this.
    pub p999: Option<Number>,
    /// The buckets in use: the largest value that a bucket counts, and its count. The very last
    /// bucket has no bound; the largest value seen stands in.
    pub buckets: Vec<(Number, u64)>,
}

impl HistogramReport {
    /// Makes a report from the buckets of the kernel side.
    pub fn new(unit: Unit, histogram: &Histogram) -> Self {
        let used: Vec<(usize, u64)> = histogram
            .buckets
            .iter()
            .take(hist::BUCKETS)
            .copied()
            .enumerate()
            .filter(|(_, n)| *n > 0)
            .collect();
        let count = used.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
        let (Some(&(first, _)), Some(&(last, _))) = (used.first(), used.last()) else {
            return Self::empty(unit);
        };
        let bounds = Bounds::new(histogram, first, last);
        let [p50, p90, p99, p999] = percentiles(&used, bounds).map(|p| p.map(|v| unit.scale(v)));
        Self {
            unit,
            count,
            sum: unit.scale(histogram.sum),
            min: Some(unit.scale(bounds.min)),
            max: Some(unit.scale(bounds.max)),
            p50,
            p90,
            p99,
            p999,
            buckets: used
                .iter()
                .map(|&(b, n)| {
                    let upper = if b + 1 >= hist::BUCKETS {
                        bounds.max
                    } else {
                        hist::upper(b)
                    };
                    (unit.scale(upper), n)
                })
                .collect(),
        }
    }

    fn empty(unit: Unit) -> Self {
        Self {
            unit,
            count: 0,
            sum: Number(0.0),
            min: None,
            max: None,
            p50: None,
            p90: None,
            p99: None,
            p999: None,
            buckets: Vec::new(),
        }
    }
}

/// The smallest and the largest value, consistent with the buckets.
#[derive(Clone, Copy)]
struct Bounds {
    min: u64,
    max: u64,
}

impl Bounds {
    fn new(histogram: &Histogram, first: usize, last: usize) -> Self {
        // A bound may be older than the window; the bucket is not.
        let within = |v: u64, b: usize| v.clamp(hist::lower(b), hist::upper(b));
        let min = within(histogram.min.unwrap_or(0), first);
        let max = within(histogram.max.unwrap_or(u64::MAX), last);
        Self {
            min,
            max: max.max(min),
        }
    }

    /// The value that stands for all values of a bucket.
    fn middle(self, bucket: usize) -> u64 {
        // The upper bound of the last bucket is the largest value seen.
        let (lower, upper) = (hist::lower(bucket), hist::upper(bucket).min(self.max));
        let upper = upper.max(lower);
        (lower + (upper - lower) / 2).clamp(self.min, self.max)
    }
}

/// p50, p90, p99 and p99.9. hdrhistogram's bins nest in the buckets, so each value it returns
/// identifies a bucket; the middle of that bucket is the percentile.
fn percentiles(used: &[(usize, u64)], bounds: Bounds) -> [Option<u64>; 4] {
    let Ok(mut hdr) = hdrhistogram::Histogram::<u64>::new_with_bounds(1, bounds.max.max(2), DIGITS)
    else {
        return [None; 4];
    };
    // hdrhistogram sums in u64; percentiles need only the upper bits of large counts.
    let total: u128 = used.iter().map(|(_, n)| u128::from(*n)).sum();
    let shift = if total > u128::from(u64::MAX) {
        64 - COUNT_BITS
    } else {
        0
    };
    for &(bucket, n) in used {
        if hdr
            .record_n(bounds.middle(bucket), (n >> shift).max(1))
            .is_err()
        {
            return [None; 4];
        }
    }
    [0.5, 0.9, 0.99, 0.999].map(|q| Some(bounds.middle(hist::bucket_of(hdr.value_at_quantile(q)))))
}

/// The values of both histograms.
#[must_use]
pub(crate) fn merged(a: &Histogram, b: &Histogram) -> Histogram {
    let mut buckets = vec![0u64; a.buckets.len().max(b.buckets.len())];
    for from in [&a.buckets, &b.buckets] {
        for (to, n) in buckets.iter_mut().zip(from) {
            *to = to.saturating_add(*n);
        }
    }
    Histogram {
        sum: a.sum.saturating_add(b.sum),
        min: a.min.into_iter().chain(b.min).min(),
        max: a.max.into_iter().chain(b.max).max(),
        buckets,
    }
}

/// The increase since `earlier`. Minimum and maximum remain those of all values; the report
/// clamps them to the remaining buckets.
#[must_use]
pub(crate) fn since(now: &Histogram, earlier: &Histogram) -> Histogram {
    let mut buckets = now.buckets.clone();
    for (to, n) in buckets.iter_mut().zip(&earlier.buckets) {
        *to = to.saturating_sub(*n);
    }
    Histogram {
        sum: now.sum.saturating_sub(earlier.sum),
        min: now.min,
        max: now.max,
        buckets,
    }
}

/// An empty histogram.
pub(crate) fn none() -> Histogram {
    Histogram {
        sum: 0,
        min: None,
        max: None,
        buckets: Vec::new(),
    }
}

#[cfg(test)]
pub(crate) fn of(values: &[u64]) -> Histogram {
    let mut h = none();
    h.buckets = vec![0; hist::BUCKETS];
    for &v in values {
        h.sum = h.sum.saturating_add(v);
        h.min = Some(h.min.map_or(v, |m| m.min(v)));
        h.max = Some(h.max.map_or(v, |m| m.max(v)));
        h.buckets[hist::bucket_of(v)] += 1;
    }
    h
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The nearest-rank percentile of sorted values.
    fn exact(sorted: &[u64], q: f64) -> u64 {
        let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted[rank.min(sorted.len()) - 1]
    }

    proptest! {
        #[test]
        fn percentiles_are_close_and_in_order(
            mut values in prop::collection::vec(
                prop_oneof![0u64..64, 0u64..100_000, 0u64..1 << 36], 1..400)
        ) {
            let report = HistogramReport::new(Unit::References, &of(&values));
            values.sort_unstable();
            prop_assert_eq!(report.count, values.len() as u64);
            prop_assert_eq!(report.min, Some(Number(values[0] as f64)));
            prop_assert_eq!(report.max, Some(Number(values[values.len() - 1] as f64)));
            let mut before = report.min;
            for (q, p) in [(0.5, report.p50), (0.9, report.p90), (0.99, report.p99), (0.999, report.p999)] {
                let truth = exact(&values, q) as f64;
                let said = p.unwrap().0;
                prop_assert!((said - truth).abs() <= hist::RELATIVE_ERROR * truth,
                    "p{q}: {said} for {truth}");
                prop_assert!(p >= before);
                before = p;
            }
            prop_assert!(report.max >= before);
            let in_buckets: u64 = report.buckets.iter().map(|(_, n)| n).sum();
            prop_assert_eq!(in_buckets, report.count);
        }

        #[test]
        fn no_histogram_panics(
            sum in any::<u64>(),
            min in any::<Option<u64>>(),
            max in any::<Option<u64>>(),
            buckets in prop::collection::vec(prop_oneof![Just(0u64), any::<u64>()], 0..600),
        ) {
            let h = Histogram { sum, min, max, buckets };
            let report = HistogramReport::new(Unit::Seconds, &h);
            prop_assert!(report.p50 <= report.p999);
            prop_assert!(report.p999 <= report.max);
            prop_assert!(serde_json::to_string(&report).is_ok());
        }

        #[test]
        fn a_difference_is_what_came_between(
            a in prop::collection::vec(0u64..1 << 30, 0..50),
            b in prop::collection::vec(0u64..1 << 30, 1..50),
        ) {
            let all: Vec<u64> = a.iter().chain(&b).copied().collect();
            let report = HistogramReport::new(Unit::Unmaps, &since(&of(&all), &of(&a)));
            let alone = HistogramReport::new(Unit::Unmaps, &of(&b));
            prop_assert_eq!(&report.buckets, &alone.buckets);
            prop_assert_eq!(report.sum, alone.sum);
            prop_assert!(report.min <= alone.min && report.max >= alone.max);
            let both = HistogramReport::new(Unit::Unmaps, &merged(&of(&a), &of(&b)));
            prop_assert_eq!(both, HistogramReport::new(Unit::Unmaps, &of(&all)));
        }
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        let json = serde_json::to_string(&[Number(1024.0), Number(0.5)]).unwrap();
        assert_eq!(json, "[1024,0.5]");
    }
}
