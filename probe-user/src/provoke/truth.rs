//! The ground truth of a run, as numbers that a test can hold against what a probe saw.

use serde::{Deserialize, Serialize};

use super::cgroup::CgroupName;
use super::evidence::{Change, Pages};
use super::memory::Memory;
use super::reference::{Reference, Subset};

/// How an unmap ends: pinscope's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The folio was freed in the same pass.
    Freed,
    /// Kept because it is pinned.
    FutilePinned,
    /// Kept because of references that are no pins.
    FutileReferenced,
    /// Under writeback: an ordinary swap-out.
    Writeback,
    /// Kept for other reasons.
    Kept,
    /// Still mapped at the end: the notifier was called in vain.
    Restored,
}

/// So many unmaps must end so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Who reclaims.
    pub reclaimer: String,
    /// `anon`, `shmem`, `file` or `lazyfree`.
    pub memory: String,
    /// The folios' order: always 0, so folios are pages.
    pub order: u32,
    /// The verdicts allowed; each unmap ends in one of them.
    pub verdicts: Vec<Verdict>,
    /// At least so many folios, over all verdicts allowed.
    pub min: u64,
    /// At most so many.
    pub max: u64,
}

/// What was seen without any probe.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The state of the referenced pages after each reclaim, summed over the rounds.
    pub referenced: Pages,
    /// The state of the other pages after each reclaim, summed over the rounds.
    pub unreferenced: Pages,
    /// Pages that didn't hold what had been written to them: 0, or the kernel lost data.
    pub damaged_pages: u64,
    /// Counters from before the first round to after the last.
    pub change: Change,
}

/// What a scenario did, and what must therefore be seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Truth {
    /// [`Truth::SCHEMA`].
    pub schema: String,
    /// The scenario's name.
    pub scenario: String,
    /// The process whose memory it was.
    pub pid: u32,
    /// The thread that reclaimed.
    pub tid: u32,
    /// That thread's name.
    pub comm: String,
    /// The process's cgroup, where there is a version 2 hierarchy.
    pub cgroup: Option<CgroupName>,
    /// The CPU it all happened on.
    pub cpu: u32,
    /// What the memory was.
    pub memory: Memory,
    /// How references were taken.
    pub reference: Reference,
    /// On which pages.
    pub subset: Subset,
    /// The size of a page, in bytes.
    pub page_size: u64,
    /// How many pages the memory had.
    pub pages: u64,
    /// How often it was touched and reclaimed.
    pub rounds: u32,
    /// On how many of its pages references were held.
    pub referenced_pages: u64,
    /// How many rings or pipes held them.
    pub holders: u64,
    /// Whether enough swap was free for reclaim to use it.
    pub swap: bool,
    /// Whether KVM listened to the process's MMU notifiers.
    pub subscriber: bool,
    /// Why not, if not.
    pub no_subscriber: Option<String>,
    /// Calls of try_to_unmap by `tid` on this memory, over all rounds: exact.
    pub unmaps_expected: u64,
    /// Calls of `__mmu_notifier_invalidate_range_start` from within those; None without a
    /// subscriber. The process causes others, outside unmaps (MADV_FREE, MADV_DONTNEED).
    pub notifier_calls_expected: Option<u64>,
    /// Calls of `__remove_mapping` by `tid` that return 0.
    pub remove_mapping_failures_expected: u64,
    /// How those unmaps end. Nothing of this memory may end otherwise.
    pub expected: Vec<Expectation>,
    /// What was seen without any probe.
    pub evidence: Evidence,
    /// Where that evidence contradicts the expectations, in words: empty on a machine that
    /// behaves, and on which nobody else reclaimed this memory meanwhile.
    pub disagreements: Vec<String>,
}

impl Truth {
    /// The value of `schema`.
    pub const SCHEMA: &str = "pinscope.truth/1";

    /// Holds the evidence against the expectations.
    pub(crate) fn disagree(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut compare = |what: &str, seen: u64, expected: u64| {
            if seen != expected {
                words.push(format!("{what}: {seen} seen, {expected} expected"));
            }
        };
        let rounds = u64::from(self.rounds);
        let Evidence {
            referenced,
            unreferenced,
            damaged_pages,
            ..
        } = &self.evidence;
        let futile = |e: &Expectation| {
            matches!(
                e.verdicts[..],
                [Verdict::FutilePinned | Verdict::FutileReferenced]
            )
        };
        let in_vain: u64 = self
            .expected
            .iter()
            .filter(|e| futile(e))
            .map(|e| e.min)
            .sum();
        compare(
            "referenced pages looked at",
            referenced.seen,
            self.referenced_pages * rounds,
        );
        compare(
            "referenced pages without a mapping",
            referenced.unmapped,
            in_vain,
        );
        compare(
            "of them, still in memory",
            referenced.unmapped_in_memory,
            in_vain,
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
