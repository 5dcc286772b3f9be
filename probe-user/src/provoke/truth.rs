//! The ground truth of a run, in numbers that a test can compare with what a probe saw.

use serde::{Deserialize, Serialize};

use super::cgroup::CgroupName;
use super::counters::CounterChange;
use super::page_table::Pages;
use super::reference::Reference;
use super::region::Backing;
use super::subset::Subset;

/// The verdicts that a scenario can provoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedVerdict {
    /// The folio was freed in the same pass.
    Freed,
    /// The folio was kept because it is pinned.
    FutilePinned,
    /// The folio was kept because of references that are not pins.
    FutileReferenced,
    /// The folio is under writeback: an ordinary swap-out.
    Writeback,
    /// The folio was kept for another reason.
    Kept,
    /// The folio is still mapped at the end: the notifier call was futile.
    Restored,
}

impl From<ExpectedVerdict> for probe_ebpf::Verdict {
    fn from(expected: ExpectedVerdict) -> Self {
        match expected {
            ExpectedVerdict::Freed => Self::Freed,
            ExpectedVerdict::FutilePinned => Self::FutilePinned,
            ExpectedVerdict::FutileReferenced => Self::FutileReferenced,
            ExpectedVerdict::Writeback => Self::Writeback,
            ExpectedVerdict::Kept => Self::Kept,
            ExpectedVerdict::Restored => Self::Restored,
        }
    }
}

/// How many unmaps must end in one of a set of verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The reclaimer.
    pub reclaimer: String,
    /// `anon`, `shmem`, `file` or `lazyfree`.
    pub memory: String,
    /// The order of the folios: always 0, so that folios are pages.
    pub order: u32,
    /// The allowed verdicts; each unmap ends in one of them.
    pub verdicts: Vec<ExpectedVerdict>,
    /// The least number of folios, over all allowed verdicts.
    pub min: u64,
    /// The greatest number of folios.
    pub max: u64,
}

/// What the kernel itself shows, without any probe.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PageEvidence {
    /// The state of the referenced pages after each reclaim, summed over the rounds.
    pub referenced: Pages,
    /// The state of the other pages after each reclaim, summed over the rounds.
    pub unreferenced: Pages,
    /// Pages that didn't hold what had been written to them: 0 unless the kernel lost data.
    pub damaged_pages: u64,
    /// The change of the counters from before the first round to after the last.
    pub change: CounterChange,
}

/// What a scenario did, and what a probe must therefore have seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Truth {
    /// [`Truth::SCHEMA`].
    pub schema: String,
    /// The name of the scenario.
    pub scenario: String,
    /// The id of the process whose memory it was.
    pub pid: u32,
    /// The id of the thread that reclaimed.
    pub tid: u32,
    /// The name of that thread.
    pub comm: String,
    /// The cgroup of the process, if there is a version 2 hierarchy.
    pub cgroup: Option<CgroupName>,
    /// The CPU on which everything happened.
    pub cpu: u32,
    /// What backed the memory.
    pub memory: Backing,
    /// How references were taken.
    pub reference: Reference,
    /// The pages that were referenced.
    pub subset: Subset,
    /// The size of a page, in bytes.
    pub page_size: u64,
    /// The number of pages.
    pub pages: u64,
    /// How many times the memory was touched and reclaimed.
    pub rounds: u32,
    /// The number of pages on which references were held.
    pub referenced_pages: u64,
    /// The number of rings or pipes that held them.
    pub holders: u64,
    /// Whether there was enough free swap for reclaim to use it.
    pub swap: bool,
    /// Whether KVM subscribed to the process's MMU notifiers.
    pub subscriber: bool,
    /// The reason if it did not.
    pub no_subscriber: Option<String>,
    /// The exact number of calls of try_to_unmap by `tid` on this memory, over all rounds.
    pub unmaps_expected: u64,
    /// The number of calls of `__mmu_notifier_invalidate_range_start` within those; None without a
    /// subscriber. The process causes more calls outside unmaps (MADV_FREE, MADV_DONTNEED).
    pub notifier_calls_expected: Option<u64>,
    /// The number of calls of `__remove_mapping` by `tid` that return 0.
    pub remove_mapping_failures_expected: u64,
    /// How those unmaps end. No unmap of this memory may end otherwise.
    pub expected: Vec<Expectation>,
    /// What the kernel itself shows, without any probe.
    pub evidence: PageEvidence,
    /// Where that evidence contradicts the expectations, in words. Empty unless the machine
    /// misbehaves, or somebody else reclaimed this memory meanwhile.
    pub disagreements: Vec<String>,
}

impl Truth {
    /// The value of `schema`.
    pub const SCHEMA: &str = "pinscope.truth/1";

    /// Compares the evidence with the expectations.
    pub(crate) fn disagree(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut compare = |what: &str, seen: u64, expected: u64| {
            if seen != expected {
                words.push(format!("{what}: {seen} seen, {expected} expected"));
            }
        };
        let rounds = u64::from(self.rounds);
        let PageEvidence {
            referenced,
            unreferenced,
            damaged_pages,
            ..
        } = &self.evidence;
        let futile = |e: &Expectation| {
            matches!(
                e.verdicts[..],
                [ExpectedVerdict::FutilePinned | ExpectedVerdict::FutileReferenced]
            )
        };
        let futile_unmaps: u64 = self
            .expected
            .iter()
            .filter(|e| futile(e))
            .map(|e| e.min)
            .sum();
        compare(
            "referenced pages inspected",
            referenced.seen,
            self.referenced_pages * rounds,
        );
        compare(
            "referenced pages without a mapping",
            referenced.unmapped,
            futile_unmaps,
        );
        compare(
            "of them, still in memory",
            referenced.unmapped_in_memory,
            futile_unmaps,
        );
        let others = (self.pages - self.referenced_pages) * rounds;
        compare(
            "other pages without a mapping",
            unreferenced.unmapped,
            others,
        );
        compare("pages damaged", *damaged_pages, 0);
        words
    }
}
