//! What changed between two captures: rates, percentiles, who and where, with the noise in mind.

pub mod noise;
pub mod sentences;

use std::collections::{BTreeMap, BTreeSet};

use probe_ebpf::Verdict;
use serde::{Deserialize, Serialize};

use self::noise::{Part, Reading};
use crate::{
    model::{
        capture::{Capture, Group, HistogramReport},
        interval::Interval,
    },
    snapshot::HookState,
};

/// The value of `schema`.
pub const SCHEMA: &str = "pinscope.diff/1";
/// Rows of a table by victim, reclaimer or subscriber: the largest changes.
const ROWS: usize = 12;

/// One of the two: a capture, and, of a recording, its looks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What it is called: its file's name.
    pub name: &'a str,
    /// The capture.
    pub capture: &'a Capture,
    /// Its looks; none where there is only the capture.
    pub looks: &'a [Interval],
}

/// Which one was compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// The host's name.
    pub hostname: String,
    /// The kernel.
    pub kernel: String,
    /// When it began, RFC 3339 in UTC.
    pub start: String,
    /// How long it was.
    pub seconds: f64,
    /// How many looks tell the scatter; 0: none, so margins are those of single counts.
    pub looks: usize,
}

/// Which way a value went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// More in B, beyond the noise.
    Rose,
    /// Less in B, beyond the noise.
    Fell,
    /// Nothing that chance wouldn't give.
    Same,
    /// One of them has no such value: not measured, or nothing of the kind happened.
    Unknown,
}

/// What a row's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffUnit {
    /// How many in a second.
    PerSecond,
    /// Seconds spent in a second: CPUs kept busy.
    SecondsPerSecond,
    /// A part of a whole, 0 to 1.
    Ratio,
    /// A time.
    Seconds,
    /// A number of references or unmaps.
    Count,
}

/// One thing compared. `None`: not measured there, or nothing to take it from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: DiffUnit,
    /// In A.
    pub a: Option<Reading>,
    /// In B.
    pub b: Option<Reading>,
    /// Which way it went.
    pub change: Change,
}

/// The comparison of two captures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// [`SCHEMA`].
    pub schema: String,
    /// What is compared.
    pub a: Side,
    /// With what.
    pub b: Side,
    /// What became of futile unmaps, in a sentence.
    pub answer: String,
    /// What makes the two less alike than one would wish: another kernel, other hooks.
    pub unlike: Vec<String>,
    /// Unmaps by verdict, notifiers, time.
    pub rates: Vec<Row>,
    /// Percentiles of futile unmaps.
    pub percentiles: Vec<Row>,
    /// Mappings lost in vain, by comm and cgroup: pids differ from run to run.
    pub victims: Vec<Row>,
    /// Futile unmaps, by reclaimer and kind of memory.
    pub reclaimers: Vec<Row>,
    /// Notifier calls, by subscriber.
    pub subscribers: Vec<Row>,
    /// Findings that only A has.
    pub findings_gone: Vec<String>,
    /// Findings that only B has.
    pub findings_new: Vec<String>,
}

impl Row {
    fn new(
        name: impl Into<String>,
        unit: DiffUnit,
        a: Option<Reading>,
        b: Option<Reading>,
    ) -> Self {
        let change = match (a, b) {
            (Some(a), Some(b)) if !noise::differ(a, b) => Change::Same,
            (Some(a), Some(b)) if b.value > a.value => Change::Rose,
            (Some(_), Some(_)) => Change::Fell,
            _ => Change::Unknown,
        };
        Self {
            name: name.into(),
            unit,
            a,
            b,
            change,
        }
    }

    /// How far apart the two are.
    fn distance(&self) -> f64 {
        let value = |r: Option<Reading>| r.map_or(0.0, |r| r.value);
        (value(self.b) - value(self.a)).abs()
    }
}

impl Diff {
    /// Compares `b` with `a`.
    pub fn of(a: Subject<'_>, b: Subject<'_>) -> Self {
        let (of_a, of_b) = (Measures::new(a, b), Measures::new(b, a));
        let rates = rates(&of_a, &of_b);
        Self {
            schema: SCHEMA.to_owned(),
            a: side(a),
            b: side(b),
            answer: sentences::answer(&rates),
            unlike: sentences::unlike(a.capture, b.capture),
            rates,
            percentiles: percentiles(a.capture, b.capture),
            victims: keyed(&of_a, &of_b, victims),
            reclaimers: keyed(&of_a, &of_b, reclaimers),
            subscribers: keyed(&of_a, &of_b, subscribers),
            findings_gone: only(a.capture, b.capture),
            findings_new: only(b.capture, a.capture),
        }
    }
}

fn side(subject: Subject<'_>) -> Side {
    let Capture { host, window, .. } = subject.capture;
    Side {
        name: subject.name.to_owned(),
        hostname: host.hostname.clone(),
        kernel: host.kernel.clone(),
        start: window.start.clone(),
        seconds: window.seconds,
        looks: subject.looks.len(),
    }
}

/// A capture with the scatter of its counts.
struct Measures<'a> {
    capture: &'a Capture,
    looks: &'a [Interval],
    /// The scatter of futile unmaps: for what the looks don't have one by one.
    futile: Option<f64>,
}

/// Amount and count of one kind within a look's totals.
type Pick = fn(&Interval) -> Option<f64>;

impl<'a> Measures<'a> {
    /// `other` lends its scatter where this one has no looks.
    fn new(of: Subject<'a>, other: Subject<'a>) -> Self {
        let scatter = |s: Subject<'_>| {
            let futile = futile(s.capture)?;
            noise::scatter(
                &parts(s.looks, |i| i.totals.futile().map(|n| n as f64)),
                futile,
            )
        };
        Self {
            capture: of.capture,
            looks: of.looks,
            futile: scatter(of).or_else(|| scatter(other)),
        }
    }

    fn seconds(&self) -> f64 {
        self.capture.window.seconds
    }

    fn count(&self, count: Option<u64>, pick: Pick) -> Option<Reading> {
        self.amount(count.map(|n| n as f64), count, pick)
    }

    fn amount(&self, amount: Option<f64>, count: Option<u64>, pick: Pick) -> Option<Reading> {
        let scatter = noise::scatter(&parts(self.looks, pick), count?).or(self.futile);
        noise::rate(amount?, count?, self.seconds(), scatter)
    }

    fn futile_share(&self) -> Option<Reading> {
        let all = self.capture.unmaps.total?;
        let futile = futile(self.capture)?;
        if all == 0 {
            return None;
        }
        let share = futile as f64 / all as f64;
        let single = (share * (1.0 - share) / all as f64).sqrt();
        Some(Reading {
            value: share,
            margin: 3.0 * single * self.futile.unwrap_or(1.0),
        })
    }
}

/// What came from look to look: totals subtract.
fn parts(looks: &[Interval], pick: Pick) -> Vec<Part> {
    let mut before = 0.0;
    let mut parts = Vec::with_capacity(looks.len());
    for look in looks {
        let Some(now) = pick(look) else {
            return Vec::new();
        };
        parts.push(Part {
            seconds: look.seconds,
            amount: (now - before).max(0.0),
        });
        before = now;
    }
    parts
}

fn verdict(capture: &Capture, verdict: Verdict) -> Option<u64> {
    let total = capture.unmaps.by_verdict.get(verdict).copied().flatten()?;
    Some(total.folios)
}

fn futile(capture: &Capture) -> Option<u64> {
    let pinned = verdict(capture, Verdict::FutilePinned)?;
    Some(pinned.saturating_add(verdict(capture, Verdict::FutileReferenced)?))
}

/// The verdicts with the looks' picks of them: function pointers carry no verdict.
const VERDICTS: [(Verdict, Pick); 7] = {
    macro_rules! pick {
        ($verdict:ident) => {
            (Verdict::$verdict, |i: &Interval| {
                let total = i.totals.unmaps.by_verdict.get(Verdict::$verdict)?;
                total.map(|t| t.folios as f64)
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

fn rates(a: &Measures<'_>, b: &Measures<'_>) -> Vec<Row> {
    use DiffUnit::{PerSecond, Ratio, SecondsPerSecond};
    let both = |name: &str, unit, of: &dyn Fn(&Measures<'_>) -> Option<Reading>| {
        Row::new(name, unit, of(a), of(b))
    };
    let mut rows = vec![
        both("futile unmaps", PerSecond, &|m| {
            m.count(futile(m.capture), |i| i.totals.futile().map(|n| n as f64))
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
            .any(|m| verdict(m.capture, v).is_some_and(|n| n > 0))
        {
            rows.push(both(v.name(), PerSecond, &|m| {
                m.count(verdict(m.capture, v), pick)
            }));
        }
    }
    rows.extend([
        both("notifier calls", PerSecond, &|m| {
            m.count(m.capture.notifier.calls, |i| {
                i.totals.notifier.calls.map(|n| n as f64)
            })
        }),
        both("notifier calls in vain", PerSecond, &|m| {
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

fn percentiles(a: &Capture, b: &Capture) -> Vec<Row> {
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
            let row = Row::new(format!("{name}, {word}"), unit, read(a), read(b));
            if row.a.is_some() || row.b.is_some() {
                rows.push(row);
            }
        }
    }
    rows
}

/// A percentile with what few values and wide buckets leave open.
fn percentile(h: &HistogramReport, quantile: f64, capture: &Capture) -> Option<Reading> {
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
    Some(Reading {
        value,
        margin: spread.max(bucket),
    })
}

/// Counts by a key; `None`: not measured.
type Counts = Option<BTreeMap<String, u64>>;

/// Both sides' counts by key as rates, the largest changes first. A key that one side lacks is
/// zero there, if that side measured at all.
fn keyed(a: &Measures<'_>, b: &Measures<'_>, of: fn(&Capture) -> Counts) -> Vec<Row> {
    let (in_a, in_b) = (of(a.capture), of(b.capture));
    let keys: BTreeSet<&String> = in_a.iter().chain(&in_b).flat_map(BTreeMap::keys).collect();
    let read = |m: &Measures<'_>, counts: &Counts, key: &String| {
        let n = counts.as_ref()?.get(key).copied().unwrap_or(0);
        noise::rate(n as f64, n, m.seconds(), m.futile)
    };
    let mut rows: Vec<Row> = keys
        .into_iter()
        .map(|key| {
            let (a, b) = (read(a, &in_a, key), read(b, &in_b, key));
            Row::new(key, DiffUnit::PerSecond, a, b)
        })
        .collect();
    rows.sort_by(|x, y| y.distance().total_cmp(&x.distance()));
    rows.truncate(ROWS);
    rows
}

fn victims(capture: &Capture) -> Counts {
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

fn reclaimers(capture: &Capture) -> Counts {
    let mut counts = BTreeMap::new();
    for g in capture.groups.as_ref()? {
        let Group {
            reclaimer, memory, ..
        } = g;
        let n: &mut u64 = counts
            .entry(format!("{memory} by {reclaimer}"))
            .or_default();
        *n = n.saturating_add(g.futile().folios);
    }
    counts.retain(|_, n| *n > 0);
    Some(counts)
}

fn subscribers(capture: &Capture) -> Counts {
    let mut counts = BTreeMap::new();
    for s in capture.subscribers.as_ref()? {
        let n: &mut u64 = counts.entry(s.symbol.clone()).or_default();
        *n = n.saturating_add(s.calls);
    }
    Some(counts)
}

/// Findings of `a` that `b` lacks.
fn only(a: &Capture, b: &Capture) -> Vec<String> {
    let there: BTreeSet<&str> = b.findings.iter().map(|f| f.id.as_str()).collect();
    a.findings
        .iter()
        .filter(|f| !there.contains(f.id.as_str()))
        .map(|f| f.id.clone())
        .collect()
}

/// The hooks that were active.
pub(super) fn active(capture: &Capture) -> BTreeMap<&str, Option<&'static str>> {
    capture
        .hooks
        .iter()
        .filter(|h| h.state == HookState::Active)
        .map(|h| (h.name.as_str(), h.attach.map(|a| a.name())))
        .collect()
}
