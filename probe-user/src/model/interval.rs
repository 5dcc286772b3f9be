//! What happened between two samples: for NDJSON lines, progress and charts.

use serde::{Deserialize, Serialize};

use super::{
    capture::{ByVerdict, Notifier, Unmaps},
    derive::{notifier, rows, unmaps},
    measured::Measured,
};
use crate::snapshot::Snapshot;

/// The shortest interval, in seconds, whose rates mean anything.
const SHORTEST: f64 = 1e-3;

/// All unmaps and notifier calls in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Unmaps.
    pub unmaps: Unmaps,
    /// Notifier calls within them.
    pub notifier: Notifier,
}

impl Totals {
    /// The totals between two snapshots; without `first`, since the probes were attached.
    pub fn between(first: Option<&Snapshot>, last: &Snapshot) -> Self {
        let measured = Measured::new(&last.hooks);
        let rows = rows(measured, first, last);
        Self {
            unmaps: unmaps(measured, &rows),
            notifier: notifier(measured, &rows),
        }
    }

    /// Futile unmaps; `None`: not measured.
    pub fn futile(&self) -> Option<u64> {
        self.unmaps.futile()
    }
}

/// Rates per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Unmaps.
    pub unmaps: Option<f64>,
    /// Futile unmaps.
    pub futile: Option<f64>,
    /// Folios by verdict.
    pub by_verdict: ByVerdict<Option<f64>>,
    /// Notifier calls.
    pub notifier_calls: Option<f64>,
    /// Notifier time per second: the number of CPUs that it keeps busy.
    pub notifier_seconds: Option<f64>,
}

/// What happened between two samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Seconds since the probes were attached.
    pub elapsed: f64,
    /// The length of the interval in seconds.
    pub seconds: f64,
    /// Totals since the start of the capture.
    pub totals: Totals,
    /// Rates in this interval; `None` where it was too short.
    pub rates: Option<Rates>,
}

impl Interval {
    /// From the snapshot with which the capture began (`None`: from the attach), the previous one,
    /// and the present one.
    pub fn new(first: Option<&Snapshot>, previous: Option<&Snapshot>, now: &Snapshot) -> Self {
        let finite = |v: f64| if v.is_finite() { v.max(0.0) } else { 0.0 };
        let elapsed = finite(now.elapsed);
        let seconds = finite(elapsed - previous.or(first).map_or(0.0, |s| finite(s.elapsed)));
        let since = Totals::between(previous.or(first), now);
        Self {
            elapsed,
            seconds,
            totals: Totals::between(first, now),
            rates: (seconds >= SHORTEST).then(|| rates(&since, seconds)),
        }
    }
}

fn rates(since: &Totals, seconds: f64) -> Rates {
    let rate = |n: u64| n as f64 / seconds;
    Rates {
        unmaps: since.unmaps.total.map(rate),
        futile: since.futile().map(rate),
        by_verdict: since
            .unmaps
            .by_verdict
            .iter()
            .map(|(v, t)| (v, t.map(|t| rate(t.folios))))
            .collect(),
        notifier_calls: since.notifier.calls.map(rate),
        notifier_seconds: since.notifier.seconds.map(|s| s / seconds),
    }
}
