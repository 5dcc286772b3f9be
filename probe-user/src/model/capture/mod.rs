//! A capture as data, exactly as its JSON has it. Every renderer reads this form.

pub mod answer;
pub mod by_verdict;
pub mod event;
pub mod finding;
pub mod gap;
pub mod histogram;
pub mod tally;
pub mod who;

use std::time::SystemTime;

use probe_ebpf::{Memory, Reclaimer, Road, Verdict};
use serde::{Deserialize, Serialize};

pub use answer::{Answer, AnswerWord};
pub use by_verdict::ByVerdict;
pub use event::EventRecord;
pub use finding::{Finding, Severity};
pub use gap::Gap;
pub use histogram::{HistogramReport, Number, Unit};
pub(crate) use tally::sum;
pub use tally::{Tally, VerdictTotal};
pub use who::Who;

use crate::{
    snapshot::{HookStatus, Host, LostCounts, SelfCost},
    words::Word,
};

/// The value of `schema`.
pub const SCHEMA: &str = "pinscope.capture/1";

/// The time that a capture covers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its start, as RFC 3339 in UTC.
    pub start: String,
    /// Its length in seconds.
    pub seconds: f64,
}

impl Window {
    /// A window from the clock's time of its start.
    pub fn new(start: SystemTime, seconds: f64) -> Self {
        Self {
            start: humantime::format_rfc3339_millis(start).to_string(),
            seconds,
        }
    }
}

/// All unmaps. `None` where they are not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unmaps {
    /// The number of unmaps.
    pub total: Option<u64>,
    /// Pages of the unmapped folios.
    pub pages: Option<u64>,
    /// A partition of `total`. Every verdict has its key, `None` if it cannot be given;
    /// `undecided` has one only where it occurs.
    pub by_verdict: ByVerdict<Option<VerdictTotal>>,
}

impl Unmaps {
    /// The folios of one verdict; `None`: not measured.
    pub fn folios(&self, verdict: Verdict) -> Option<u64> {
        self.by_verdict.total_of(verdict).map(|total| total.folios)
    }

    /// The number of futile unmaps; `None`: not measured.
    pub fn futile(&self) -> Option<u64> {
        self.by_verdict.futile().map(|tally| tally.folios)
    }
}

/// MMU notifier calls in unmaps. `None` where they are not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notifier {
    /// Calls of `invalidate_range_start` nested in unmaps.
    pub calls: Option<u64>,
    /// Calls in futile unmaps.
    pub in_futile: Option<u64>,
    /// Time in all calls, in seconds.
    pub seconds: Option<f64>,
}

/// The histograms. `None` where one is not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histograms {
    /// The time of a futile unmap.
    pub unmap_seconds: Option<HistogramReport>,
    /// The notifier time of a futile unmap that called any.
    pub notifier_seconds: Option<HistogramReport>,
    /// Excess references of futile unmaps.
    pub excess_references: Option<HistogramReport>,
    /// Futile unmaps per folio.
    pub unmaps_per_folio: Option<HistogramReport>,
    /// Not measured by this version.
    pub refault_seconds: Option<HistogramReport>,
}

/// One part of the partition of all unmaps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Why the unmaps were tried. JSON leaves it out where it is reclaim.
    #[serde(default = "reclaim", skip_serializing_if = "is_reclaim")]
    pub road: Word<Road>,
    /// Who was reclaiming.
    pub reclaimer: Word<Reclaimer>,
    /// The kind of memory.
    pub memory: Word<Memory>,
    /// Folios of 2^order pages.
    pub order: u8,
    /// The first process whose mapping was removed; `None`: not measured.
    pub victim: Option<Who>,
    /// Only the verdicts that occur.
    pub by_verdict: ByVerdict<Tally>,
    /// Notifier calls in these unmaps; `None`: not measured.
    pub notifier_calls: Option<u64>,
}

fn reclaim() -> Word<Road> {
    Road::Reclaim.into()
}

fn is_reclaim(road: &Word<Road>) -> bool {
    *road == Road::Reclaim
}

impl Group {
    /// All unmaps of the group.
    pub fn total(&self) -> Tally {
        self.by_verdict.total()
    }

    /// Its futile unmaps.
    pub fn futile(&self) -> Tally {
        self.by_verdict.futile()
    }
}

/// A process that lost mappings to futile unmaps: every mapping counts, including those of folios
/// that count under another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// The process.
    #[serde(flatten)]
    pub who: Who,
    /// Mappings (one folio in one VMA) removed by futile unmaps.
    pub mappings: u64,
    /// Pages of these mappings.
    pub pages: u64,
}

/// A subscriber of MMU notifiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscriber {
    /// The callback's symbol.
    pub symbol: String,
    /// Notifier calls that it took part in.
    pub calls: u64,
    /// Time in those calls: an upper bound where `shared_calls` is not 0.
    pub seconds: f64,
    /// Calls in which other subscribers took part too.
    pub shared_calls: u64,
}

/// Data that was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostReport {
    /// Events that found the ring buffer full.
    pub events: u64,
    /// Counts that found a map full.
    pub keys: u64,
    /// Losses by map, and failed reads of kernel memory.
    #[serde(default)]
    pub by_map: LostCounts,
}

/// The accuracy of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The largest relative error of a percentile.
    pub histogram_relative_error: f64,
    /// Futile unmaps of small folios that count as pinned because they have 1,024 references or
    /// more: the kernel's own test, which is a guess.
    pub maybe_pinned_folios: u64,
}

/// A capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// [`SCHEMA`].
    pub schema: String,
    /// The machine.
    pub host: Host,
    /// The time that it covers.
    pub window: Window,
    /// Whether reclaim is wasting work on pinned memory.
    #[serde(default)]
    pub answer: Answer,
    /// All hooks, with what they saw in the window.
    pub hooks: Vec<HookStatus>,
    /// Data that was lost.
    pub lost: LostReport,
    /// Tasks inside reclaim at the end, whose open unmaps are not counted.
    #[serde(default)]
    pub in_flight: u64,
    /// All unmaps.
    pub unmaps: Unmaps,
    /// MMU notifier calls in unmaps.
    pub notifier: Notifier,
    /// The histograms.
    pub histograms: Histograms,
    /// The partition of all unmaps, most futile pages first; `None`: not measured.
    pub groups: Option<Vec<Group>>,
    /// The victims of futile unmaps, most pages first; `None`: not measured.
    pub victims: Option<Vec<Victim>>,
    /// The MMU notifier subscribers, most time first; `None`: not measured.
    #[serde(default)]
    pub subscribers: Option<Vec<Subscriber>>,
    /// Conclusions from the numbers, the most severe first.
    pub findings: Vec<Finding>,
    /// Answers that are missing.
    #[serde(default)]
    pub not_measured: Vec<Gap>,
    /// Answers that rest on weaker evidence than usual.
    #[serde(default)]
    pub weaker: Vec<Gap>,
    /// The accuracy of the numbers.
    #[serde(default)]
    pub accuracy: Accuracy,
    /// The cost of pinscope itself.
    #[serde(rename = "self")]
    pub cost: SelfCost,
    /// Individual futile unmaps, where they were requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventRecord>>,
    /// Events that `events` leaves out because there were too many: the oldest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events_omitted: u64,
    /// Set if the recording that this was made from is cut off or damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Incomplete>,
}

/// Says that a capture covers only the readable part of its recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// Where the readable part ends, and why.
    pub reason: String,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Capture {
    /// The number of active hooks, and of those that this version attaches on such a kernel.
    pub fn active_hooks(&self) -> (usize, usize) {
        HookStatus::active_of_all(&self.hooks)
    }

    /// The groups that partition [`Capture::unmaps`]: those of reclaim. None where they are not
    /// measured.
    pub fn reclaim_groups(&self) -> impl Iterator<Item = &Group> {
        let all = self.groups.iter().flatten();
        all.filter(|group| is_reclaim(&group.road))
    }
}

impl Default for Accuracy {
    fn default() -> Self {
        Self {
            histogram_relative_error: probe_ebpf::hist::RELATIVE_ERROR,
            maybe_pinned_folios: 0,
        }
    }
}
