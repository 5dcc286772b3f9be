//! The rows of a comparison: rates, percentiles, and counts by victim, reclaimer or subscriber.

use std::collections::{BTreeMap, BTreeSet};

use probe_ebpf::Verdict;

use super::{
    diff::{Comparison, DiffUnit},
    measures::{Measures, Pick},
    noise::{self, Estimate},
};
use crate::model::{
    capture::{Capture, HistogramReport},
    interval::Interval,
};

/// The most rows by victim, reclaimer or subscriber: those with the largest changes.
const ROWS: usize = 12;

/// The verdicts with a pick for each: function pointers cannot capture the verdict.
const VERDICTS: [(Verdict, Pick); 7] = {
    macro_rules! pick {
        ($verdict:ident) => {
            (Verdict::$verdict, |i: &Interval| {
                let folios = i.totals.unmaps.folios(Verdict::$verdict);
                folios.map(|n| n as f64)
            })
        };
    }
    [
        pick!(FutilePinned),
        pick!(FutileReferenced),
        pick!(Restored),
        pick!(Freed),
        pick!(Writeback),
        pick!(Kept),
        pick!(Migrated),
    ]
};

/// Rates of unmaps by verdict, of notifier calls, and of time.
pub(super) fn rates(a: &Measures<'_>, b: &Measures<'_>) -> Vec<Comparison> {
    use DiffUnit::{PerSecond, Ratio, SecondsPerSecond};
    let both = |name: &str, unit, of: &dyn Fn(&Measures<'_>) -> Option<Estimate>| {
        Comparison::new(name, unit, of(a), of(b))
    };
    let mut rows = vec![
        both("futile unmaps", PerSecond, &|m| {
            m.count(m.capture.unmaps.futile(), |i| {
                i.totals.futile().map(|n| n as f64)
            })
        }),
        both("share of all unmaps", Ratio, &|m| m.futile_share()),
        both("unmaps", PerSecond, &|m| {
            m.count(m.capture.unmaps.total, |i| {
                i.totals.unmaps.total.map(|n| n as f64)
            })
        }),
    ];
    for (v, pick) in VERDICTS {
        if [a, b]
            .iter()
            .any(|m| m.capture.unmaps.folios(v).is_some_and(|n| n > 0))
        {
            rows.push(both(v.name(), PerSecond, &|m| {
                m.count(m.capture.unmaps.folios(v), pick)
            }));
        }
    }
    rows.extend([
        both("notifier calls", PerSecond, &|m| {
            m.count(m.capture.notifier.calls, |i| {
                i.totals.notifier.calls.map(|n| n as f64)
            })
        }),
        both("futile notifier calls", PerSecond, &|m| {
            m.count(m.capture.notifier.in_futile, |i| {
                i.totals.notifier.in_futile.map(|n| n as f64)
            })
        }),
        both("time in notifiers", SecondsPerSecond, &|m| {
            let n = &m.capture.notifier;
            m.amount(n.seconds, n.calls, |i| i.totals.notifier.seconds)
        }),
        both("time in futile unmaps", SecondsPerSecond, &|m| {
            let h = m.capture.histograms.unmap_seconds.as_ref()?;
            m.amount(Some(h.sum.0), Some(h.count), |i| {
                i.totals.futile().map(|n| n as f64)
            })
        }),
    ]);
    rows
}

/// Percentiles of futile unmaps.
pub(super) fn percentiles(a: &Capture, b: &Capture) -> Vec<Comparison> {
    type Of = fn(&Capture) -> Option<&HistogramReport>;
    let histograms: [(&str, DiffUnit, Of); 4] = [
        ("futile unmap", DiffUnit::Seconds, |c| {
            c.histograms.unmap_seconds.as_ref()
        }),
        ("its notifiers", DiffUnit::Seconds, |c| {
            c.histograms.notifier_seconds.as_ref()
        }),
        ("excess references", DiffUnit::Count, |c| {
            c.histograms.excess_references.as_ref()
        }),
        ("unmaps of one folio", DiffUnit::Count, |c| {
            c.histograms.unmaps_per_folio.as_ref()
        }),
    ];
    let mut rows = Vec::new();
    for (name, unit, of) in histograms {
        for (word, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let read = |c: &Capture| of(c).and_then(|h| percentile(h, quantile, c));
            let row = Comparison::new(format!("{name}, {word}"), unit, read(a), read(b));
            if row.a.is_some() || row.b.is_some() {
                rows.push(row);
            }
        }
    }
    rows
}

/// A percentile; its margin covers few values and wide buckets.
fn percentile(h: &HistogramReport, quantile: f64, capture: &Capture) -> Option<Estimate> {
    let value = match quantile {
        q if q < 0.9 => h.p50,
        _ => h.p99,
    }?
    .0;
    let at = |rank: f64| {
        let wanted = rank * h.count as f64;
        let mut seen = 0.0;
        for (upper, n) in &h.buckets {
            seen += *n as f64;
            if seen >= wanted {
                return upper.0;
            }
        }
        value
    };
    let (low, high) = noise::ranks(quantile, h.count);
    let spread = (at(high) - value).abs().max((value - at(low)).abs());
    let bucket = 2.0 * capture.accuracy.histogram_relative_error.abs() * value;
    Some(Estimate {
        value,
        margin: spread.max(bucket),
    })
}

/// Counts by a key; `None`: not measured.
pub(super) type KeyedCounts = Option<BTreeMap<String, u64>>;

/// The counts of both sides as rates, the largest changes first. A key that one side lacks is 0
/// there, if that side measured the counts at all.
pub(super) fn keyed(
    a: &Measures<'_>,
    b: &Measures<'_>,
    of: fn(&Capture) -> KeyedCounts,
) -> Vec<Comparison> {
    let (in_a, in_b) = (of(a.capture), of(b.capture));
    let keys: BTreeSet<&String> = in_a.iter().chain(&in_b).flat_map(BTreeMap::keys).collect();
    let read = |m: &Measures<'_>, counts: &KeyedCounts, key: &String| {
        let n = counts.as_ref()?.get(key).copied().unwrap_or(0);
        noise::rate(n as f64, n, m.seconds(), m.futile)
    };
    let mut rows: Vec<Comparison> = keys
        .into_iter()
        .map(|key| {
            let (a, b) = (read(a, &in_a, key), read(b, &in_b, key));
            Comparison::new(key, DiffUnit::PerSecond, a, b)
        })
        .collect();
    rows.sort_by(|x, y| y.distance().total_cmp(&x.distance()));
    rows.truncate(ROWS);
    rows
}

/// Mappings removed by futile unmaps, by comm and cgroup.
pub(super) fn victims(capture: &Capture) -> KeyedCounts {
    let mut counts = BTreeMap::new();
    for v in capture.victims.as_ref()? {
        let comm = v.who.comm.as_deref().unwrap_or("unknown process");
        let name = match &v.who.cgroup {
            Some(cgroup) => format!("{comm} in {cgroup}"),
            None => comm.to_owned(),
        };
        let n: &mut u64 = counts.entry(name).or_default();
        *n = n.saturating_add(v.mappings);
    }
    Some(counts)
}

/// Futile unmaps, by memory and reclaimer.
pub(super) fn reclaimers(capture: &Capture) -> KeyedCounts {
    let mut counts = BTreeMap::new();
    capture.groups.as_ref()?;
    for g in capture.reclaim_groups() {
        let n: &mut u64 = counts
            .entry(format!("{} by {}", g.memory, g.reclaimer))
            .or_default();
        *n = n.saturating_add(g.futile().folios);
    }
    counts.retain(|_, n| *n > 0);
    Some(counts)
}

/// Notifier calls, by symbol.
pub(super) fn subscribers(capture: &Capture) -> KeyedCounts {
    let mut counts = BTreeMap::new();
    for s in capture.subscribers.as_ref()? {
        let n: &mut u64 = counts.entry(s.symbol.clone()).or_default();
        *n = n.saturating_add(s.calls);
    }
    Some(counts)
}
