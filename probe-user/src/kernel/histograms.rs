//! The histograms of all CPUs as one.

use probe_ebpf::{
    Hist,
    hist::{self, Octaves},
};

use crate::snapshot::Histogram;

/// Sums the histograms of all CPUs.
pub(super) fn sum<'a>(cpus: impl Iterator<Item = &'a Hist>) -> Histogram {
    let mut all = Histogram {
        sum: 0,
        min: None,
        max: None,
        buckets: vec![0; hist::BUCKETS],
    };
    for cpu in cpus {
        all.sum = all.sum.wrapping_add(cpu.sum);
        for (to, from) in all.buckets.iter_mut().zip(&cpu.buckets) {
            *to = to.wrapping_add(*from);
        }
        if cpu.sum > 0 || cpu.min_inverted > 0 {
            all.max = all.max.max(Some(cpu.max));
        }
        if cpu.min_inverted > 0 {
            let min = !cpu.min_inverted;
            all.min = Some(all.min.map_or(min, |m| m.min(min)));
        }
    }
    let used = all
        .buckets
        .iter()
        .rposition(|n| *n > 0)
        .map_or(0, |i| i + 1);
    all.buckets.truncate(used);
    if all.min.is_none() {
        // The histogram of folios has no minimum of its own: the lowest bucket in use gives it.
        all.min = all.buckets.iter().position(|n| *n > 0).map(hist::lower);
    }
    all
}

/// Sums the rows of all CPUs; `None` if they have no counts.
pub(super) fn sum_octaves<'a>(rows: impl Iterator<Item = &'a Octaves>) -> Option<Histogram> {
    let mut all = Histogram::default();
    for row in rows {
        all.sum = all.sum.wrapping_add(row.sum);
        for (octave, n) in row.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let bucket = hist::middle_of(octave);
            if all.buckets.len() <= bucket {
                all.buckets.resize(bucket + 1, 0);
            }
            all.buckets[bucket] = all.buckets[bucket].wrapping_add(*n);
        }
    }
    (!all.buckets.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use probe_ebpf::hist::{BUCKETS, OCTAVES, bucket_of};

    use super::*;

    fn hist(values: &[u64]) -> Hist {
        let mut h = Hist {
            sum: 0,
            min_inverted: 0,
            max: 0,
            buckets: [0; BUCKETS],
        };
        for v in values {
            h.sum += v;
            h.max = h.max.max(*v);
            h.min_inverted = h.min_inverted.max(!v);
            h.buckets[bucket_of(*v)] += 1;
        }
        h
    }

    #[test]
    fn cpus_add_up() {
        let (a, b, none) = (hist(&[5, 100]), hist(&[3]), hist(&[]));
        let all = sum([&a, &b, &none].into_iter());
        assert_eq!((all.sum, all.min, all.max), (108, Some(3), Some(100)));
        assert_eq!(all.buckets.iter().sum::<u64>(), 3);
        let nothing = sum([&none].into_iter());
        assert_eq!(
            (nothing.min, nothing.max, nothing.buckets.len()),
            (None, None, 0)
        );
    }

    #[test]
    fn octaves_add_up_at_their_middle() {
        let none = Octaves {
            sum: 0,
            counts: [0; OCTAVES],
        };
        assert_eq!(sum_octaves([&none].into_iter()), None);
        let (mut a, mut b) = (none, none);
        (a.sum, a.counts[6]) = (1000, 2);
        (b.sum, b.counts[6], b.counts[7]) = (1600, 1, 1);
        let all = sum_octaves([&a, &none, &b].into_iter()).unwrap();
        assert_eq!((all.sum, all.buckets.len()), (2600, hist::middle_of(7) + 1));
        assert_eq!(all.buckets[hist::middle_of(6)], 3);
        // 512 to 1023 ns.
        assert_eq!(hist::octave_of(bucket_of(600)), 6);
    }

    #[test]
    fn a_folio_that_moved_between_cpus_counts_once() {
        let (mut a, mut b) = (hist(&[]), hist(&[]));
        a.buckets[1] = 1;
        b.buckets[1] = u64::MAX;
        b.buckets[2] = 1;
        let all = sum([&a, &b].into_iter());
        assert_eq!(all.buckets, [0, 0, 1]);
    }
}
