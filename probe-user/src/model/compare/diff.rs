//! A comparison as data, exactly as its JSON has it.

use serde::{Deserialize, Serialize};

use super::noise::{self, Estimate};

/// The value of `schema`.
pub const SCHEMA: &str = "pinscope.diff/1";

/// A capture that was compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// The name of its file.
    pub name: String,
    /// The host's name.
    pub hostname: String,
    /// The kernel's release.
    pub kernel: String,
    /// The start of its window, RFC 3339 in UTC.
    pub start: String,
    /// The length of its window.
    pub seconds: f64,
    /// The number of samples that show the scatter; 0: none, so the margins are those of
    /// independent counts.
    #[serde(rename = "looks")]
    pub samples: usize,
}

/// The direction in which a value changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// More in B, beyond the noise.
    Rose,
    /// Less in B, beyond the noise.
    Fell,
    /// No difference that chance would not explain.
    Same,
    /// One of the two has no such value: not measured, or nothing of the kind happened.
    Unknown,
}

/// The unit of the values of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffUnit {
    /// A number per second.
    PerSecond,
    /// Seconds spent per second: CPUs kept busy.
    SecondsPerSecond,
    /// A part of a whole, 0 to 1.
    Ratio,
    /// A duration.
    Seconds,
    /// A number of references or unmaps.
    Count,
}

/// One value compared. `None`: not measured there, or nothing to take it from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The name of the value.
    pub name: String,
    /// Its unit.
    pub unit: DiffUnit,
    /// The value in A.
    pub a: Option<Estimate>,
    /// The value in B.
    pub b: Option<Estimate>,
    /// The direction in which it changed.
    pub change: Change,
}

impl Comparison {
    pub(super) fn new(
        name: impl Into<String>,
        unit: DiffUnit,
        a: Option<Estimate>,
        b: Option<Estimate>,
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

    /// The absolute difference of the two values; a missing one counts as 0.
    pub(super) fn distance(&self) -> f64 {
        let value = |e: Option<Estimate>| e.map_or(0.0, |e| e.value);
        (value(self.b) - value(self.a)).abs()
    }
}

/// The comparison of two captures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// [`SCHEMA`].
    pub schema: String,
    /// The first capture.
    pub a: Side,
    /// The second capture.
    pub b: Side,
    /// How futile unmaps changed, in a sentence.
    pub answer: String,
    /// Differences that make the two hard to compare: another kernel, other hooks.
    pub unlike: Vec<String>,
    /// Rates of unmaps by verdict, of notifier calls, and of time.
    pub rates: Vec<Comparison>,
    /// Percentiles of futile unmaps.
    pub percentiles: Vec<Comparison>,
    /// Mappings removed by futile unmaps, by comm and cgroup: pids differ from run to run.
    pub victims: Vec<Comparison>,
    /// Futile unmaps, by reclaimer and kind of memory.
    pub reclaimers: Vec<Comparison>,
    /// Notifier calls, by subscriber.
    pub subscribers: Vec<Comparison>,
    /// Findings that only A has.
    pub findings_gone: Vec<String>,
    /// Findings that only B has.
    pub findings_new: Vec<String>,
}
