//! An individual futile unmap, as outputs show it.

use probe_ebpf::{Memory, Reclaimer, Verdict};
use serde::{Deserialize, Serialize};

use super::who::Who;
use crate::{snapshot::Event, words::Word};

/// One futile unmap, recorded individually.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Seconds since the probes were attached.
    pub elapsed: f64,
    /// `futile_pinned` or `futile_referenced`.
    pub verdict: Word<Verdict>,
    /// Who was reclaiming.
    pub reclaimer: Word<Reclaimer>,
    /// The tid of the task that was reclaiming.
    pub reclaimer_tid: u32,
    /// The comm of that task.
    pub reclaimer_comm: String,
    /// The kind of memory.
    pub memory: Word<Memory>,
    /// The folio's order.
    pub order: u8,
    /// The first process whose mapping was removed; `None`: not known.
    pub victim: Option<Who>,
    /// The user address at which it was mapped last, in hexadecimal; `None`: not known.
    pub address: Option<String>,
    /// Excess references.
    pub excess: i64,
    /// All references at the return.
    pub refcount: u32,
    /// Mappings removed.
    pub mappings: u32,
    /// The futile unmaps of this folio so far; `None`: not known.
    pub times: Option<u32>,
    /// Notifier calls; `None`: not measured.
    pub notifier_calls: Option<u32>,
    /// Time in these calls; `None`: not measured.
    pub notifier_seconds: Option<f64>,
    /// Time in `try_to_unmap`.
    pub unmap_seconds: f64,
}

/// Converts ns to seconds.
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl From<&Event> for EventRecord {
    fn from(e: &Event) -> Self {
        Self {
            elapsed: if e.elapsed.is_finite() {
                e.elapsed
            } else {
                0.0
            },
            verdict: e.verdict.clone(),
            reclaimer: e.reclaimer.clone(),
            reclaimer_tid: e.reclaimer_tid,
            reclaimer_comm: e.reclaimer_comm.clone(),
            memory: e.memory.clone(),
            order: e.order,
            victim: e.victim.as_ref().map(Who::from),
            address: e.address.map(|a| format!("{a:#x}")),
            excess: e.excess,
            refcount: e.refcount,
            mappings: e.mappings,
            times: e.times,
            notifier_calls: e.notifier_calls,
            notifier_seconds: e.notifier_ns.map(seconds),
            unmap_seconds: seconds(e.unmap_ns),
        }
    }
}
