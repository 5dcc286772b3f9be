//! The keys and values of every map, with their layout asserted.
//!
//! | map | type | key → value |
//! |---|---|---|
//! | `TASKS` | array | slot → [`TaskState`] |
//! | `CLAIMS` | hash | slot → tid: who owns the slot |
//! | `GROUPS` | hash | [`GroupKey`] → [`GroupCounts`] |
//! | `VICTIMS` | hash | [`VictimKey`] → [`Victim`] |
//! | `FOLIOS` | LRU hash | folio → times unmapped in vain |
//! | `SUBSCRIBERS` | hash | callback → [`Subscriber`] |
//! | `TIMES` | per-CPU array | verdict → [`TimeHists`] |
//! | `FOLIO_HISTS` | per-CPU array | 0 → [`FolioHists`] |
//! | `HOOKS` | per-CPU array | hook → [`HookHits`] |
//! | `LOST` | per-CPU array | 0 → [`Lost`] |
//! | `EVENTS` | ring buffer | [`Event`] |

use crate::{hist::Hist, verdict::Verdict, words::Hook};

/// Slots for tasks that are reclaiming at the same moment. A power of two.
pub const TASK_SLOTS: u32 = 2048;
/// How far from its home slot a task may be placed when that is taken.
pub const TASK_PROBES: u32 = 4;
/// Mappings of one folio that are remembered until its verdict; more are counted as lost.
pub const MAX_MAPPINGS: usize = 32;
/// Notifier callbacks of one mm that are told apart; later ones share the last place.
pub const MAX_SUBSCRIBERS: usize = 4;
/// In place of a callback's address: interval notifiers, which are kept in a tree by range.
pub const INTERVAL_NOTIFIERS: u64 = 1;
/// In place of a callback's address: none was found. A subscriber may have left since the mm
/// got its first one; the call is made all the same.
pub const NO_SUBSCRIBER: u64 = 2;
/// `TASK_COMM_LEN` (include/linux/sched.h).
pub const COMM_LEN: usize = 16;

macro_rules! shared {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* } size $size:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        #[cfg_attr(
            feature = "user",
            derive(
                zerocopy::FromBytes,
                zerocopy::IntoBytes,
                zerocopy::Immutable,
                zerocopy::KnownLayout
            )
        )]
        pub struct $name { $($body)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
        const _: () = assert!(core::mem::align_of::<$name>() == 8);
    };
}

shared! {
    /// A process that lost mappings. An mm's address may be used again after it is gone; with
    /// the pid beside it the next owner is told apart. By cgroup
    /// ([`crate::facts::VictimsBy::Cgroup`]) `mm` is 0, and `tgid` and `pad` are the lower and
    /// the upper half of its id; by nothing all are 0.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct VictimKey {
        /// The address of the `mm_struct`; 0: unknown.
        pub mm: u64,
        /// The tgid of its owner; 0: the owner has gone, or isn't known.
        pub tgid: u32,
        /// Zero, but see above.
        pub pad: u32,
    }
    size 16
}

shared! {
    /// The partition that counters are kept by. The verdict is the index in the value.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct GroupKey {
        /// The first process whose mapping went.
        pub victim: VictimKey,
        /// A [`crate::Reclaimer`].
        pub reclaimer: u8,
        /// A [`crate::Memory`].
        pub memory: u8,
        /// The folio's order: 2^order pages.
        pub order: u8,
        /// Zero.
        pub pad: [u8; 5],
    }
    size 24
}

shared! {
    /// Counters of one group and verdict.
    #[derive(Default, PartialEq, Eq)]
    pub struct Counts {
        /// Unmaps.
        pub folios: u64,
        /// Their pages.
        pub pages: u64,
        /// Notifier calls (`__mmu_notifier_invalidate_range_start`) nested in them.
        pub notifier_calls: u64,
        /// Time in those calls and in the matching `_end`s, in ns.
        pub notifier_ns: u64,
        /// Time from entry to return of `try_to_unmap`, in ns, the probes' own included.
        pub unmap_ns: u64,
    }
    size 40
}

shared! {
    /// The value of `GROUPS`.
    #[derive(Default)]
    pub struct GroupCounts {
        /// By [`Verdict`].
        pub by_verdict: [Counts; Verdict::COUNT],
    }
    size 40 * Verdict::COUNT
}

shared! {
    /// The value of `VICTIMS`: who it is, and what it lost in vain.
    pub struct Victim {
        /// Mappings (of one folio in one VMA) removed by unmaps that were futile.
        pub mappings: u64,
        /// The pages of those mappings.
        pub pages: u64,
        /// The id of its cgroup in the v2 hierarchy; 0: unknown.
        pub cgroup: u64,
        /// The group leader's comm, NUL-padded, when its first mapping was looked at.
        pub comm: [u8; COMM_LEN],
    }
    size 40
}

shared! {
    /// The value of `SUBSCRIBERS`. Of a process with several subscribers each is counted with
    /// all its calls and all their time: an upper bound, told by `shared_calls`.
    #[derive(Default)]
    pub struct Subscriber {
        /// Notifier calls nested in reclaim's unmaps that this callback took part in.
        pub calls: u64,
        /// Time in those calls, in ns.
        pub ns: u64,
        /// Those of the calls in which other subscribers took part as well.
        pub shared_calls: u64,
    }
    size 24
}

shared! {
    /// The value of `TIMES`.
    pub struct TimeHists {
        /// `try_to_unmap`, in ns.
        pub unmap_ns: Hist,
        /// All notifier calls within one unmap together, in ns; only unmaps that had any.
        pub notifier_ns: Hist,
    }
    size 2 * core::mem::size_of::<Hist>()
}

shared! {
    /// The value of `FOLIO_HISTS`: of futile unmaps.
    pub struct FolioHists {
        /// Excess references.
        pub excess: Hist,
        /// How often one folio was unmapped in vain. A folio moves from bucket to bucket, so
        /// buckets of different CPUs are to be added with wrapping; `sum` is unmaps.
        pub per_folio: Hist,
    }
    size 2 * core::mem::size_of::<Hist>()
}

shared! {
    /// The value of `HOOKS`, of calls that belong to reclaim.
    #[derive(Default)]
    pub struct HookHits {
        /// Entries seen.
        pub entries: u64,
        /// Returns seen, for hooks that have a return probe.
        pub returns: u64,
    }
    size 16
}

shared! {
    /// What didn't fit, by map. Nothing is dropped without being counted here.
    #[derive(Default)]
    pub struct Lost {
        /// Shrink calls of tasks that found no slot in `TASKS`; their unmaps aren't counted.
        pub tasks: u64,
        /// Unmaps whose group didn't fit `GROUPS`.
        pub groups: u64,
        /// Futile mappings whose process didn't fit `VICTIMS`.
        pub victims: u64,
        /// Futile mappings beyond [`MAX_MAPPINGS`] of one folio.
        pub mappings: u64,
        /// Futile unmaps whose folio didn't fit `FOLIOS`.
        pub folios: u64,
        /// Notifier calls whose callback didn't fit `SUBSCRIBERS`.
        pub subscribers: u64,
        /// Events that found the ring buffer full.
        pub events: u64,
        /// Events over the budget: not asked for, so not lost.
        pub events_over_budget: u64,
        /// Kernel memory that couldn't be read.
        pub reads: u64,
    }
    size 72
}

shared! {
    /// What one unmap's mappings belonged to, until its verdict.
    pub struct Mapping {
        /// The process.
        pub victim: VictimKey,
        /// Pages unmapped there; 0: this VMA didn't map the folio.
        pub pages: u64,
    }
    size 24
}

shared! {
    /// Counters of a task's shrink call, of one group, until they are added to the maps.
    pub struct Pending {
        /// Unmaps.
        pub folios: u32,
        /// Their pages.
        pub pages: u32,
        /// Notifier calls.
        pub notifier_calls: u32,
        /// Zero.
        pub pad: u32,
        /// Time in the notifier, in ns.
        pub notifier_ns: u64,
        /// Time in `try_to_unmap`, in ns.
        pub unmap_ns: u64,
    }
    size 32
}

impl GroupKey {
    /// Whether two are equal, without the padding: this is asked for every folio.
    #[inline(always)]
    pub fn same(&self, other: &GroupKey) -> bool {
        self.victim.mm == other.victim.mm
            && self.victim.tgid == other.victim.tgid
            && self.reclaimer == other.reclaimer
            && self.memory == other.memory
            && self.order == other.order
    }
}

/// [`TaskState::phase`]: between folios.
pub const PHASE_IDLE: u32 = 0;
/// [`TaskState::phase`]: inside `try_to_unmap`.
pub const PHASE_UNMAP: u32 = 1;
/// [`TaskState::phase`]: `try_to_unmap` has returned, the verdict is open.
pub const PHASE_OPEN: u32 = 2;

shared! {
    /// The value of `TASKS`: one task that is reclaiming, and the unmap it is at.
    ///
    /// Counters are gathered here and added to the shared maps when the shrink call ends or
    /// the group changes: a batch of up to 32 folios costs one map update.
    pub struct TaskState {
        /// Tasks whose home is here and that had to be placed further on.
        pub displaced: u64,
        /// The owner of the slot; 0: free.
        pub tid: u32,
        /// Inside `shrink_folio_list`.
        pub in_shrink: u32,
        /// Inside `reclaim_pages`.
        pub in_reclaim_pages: u32,
        /// The slot's own index.
        pub slot: u32,
        /// The home slot of the owner.
        pub home: u32,
        /// A `PHASE_…`.
        pub phase: u32,
        /// [`crate::verdict`] bits of the open unmap.
        pub bits: u32,
        /// Zero.
        pub pad0: u32,

        /// A [`crate::Reclaimer`].
        pub reclaimer: u8,
        /// A [`crate::Memory`] of the open unmap.
        pub memory: u8,
        /// Its order.
        pub order: u8,
        /// Zero.
        pub pad: u8,
        /// Its pages.
        pub nr_pages: u32,
        /// The folio's address.
        pub folio: u64,
        /// `folio.mapping` at the entry.
        pub mapping: u64,
        /// Its excess references.
        pub excess: i64,
        /// When `try_to_unmap` was entered, in ns of CLOCK_MONOTONIC.
        pub entered: u64,
        /// How long it took, in ns.
        pub unmap_ns: u64,
        /// When the running notifier call was entered; 0: none is running.
        pub notifier_entered: u64,
        /// Time in notifier calls of the open unmap, in ns.
        pub notifier_ns: u64,
        /// Notifier calls of the open unmap.
        pub notifier_calls: u32,
        /// Mappings left when last looked at.
        pub mapcount: u32,
        /// Mappings of the whole folio (PMD) left when last looked at.
        pub entire_mapcount: u32,
        /// Its refcount at the return.
        pub refcount: u32,
        /// The address at which the folio was last looked for.
        pub address: u64,

        /// VMAs walked: the places in `mappings` that are in use, at most [`MAX_MAPPINGS`].
        pub walked: u32,
        /// Zero.
        pub pad1: u32,
        /// The process of the VMA that is being walked: the last one resolved.
        pub victim: VictimKey,

        /// The group that `pending` is of.
        pub pending_key: GroupKey,
        /// Futile mappings of `pending_key.victim` not yet added to `VICTIMS`.
        pub victim_mappings: u32,
        /// And their pages.
        pub victim_pages: u32,
        /// Excess references of the last futile unmaps, which are mostly the same.
        pub excess_value: u64,
        /// How many of them had so many: not yet added to `FOLIO_HISTS`.
        pub excess_count: u64,
        /// By [`Verdict`].
        pub pending: [Pending; Verdict::COUNT],

        /// The mm whose subscribers stand in `subscribers`.
        pub subscribers_mm: u64,
        /// Callbacks ([`INTERVAL_NOTIFIERS`] for the interval tree), 0: none.
        pub subscribers: [u64; MAX_SUBSCRIBERS],
        /// Notifier calls of that mm not yet added to `SUBSCRIBERS`.
        pub subscriber_calls: u64,
        /// And their time, in ns.
        pub subscriber_ns: u64,

        /// Entries by [`Hook`], not yet added to `HOOKS`.
        pub entries: [u32; 16],
        /// Returns by [`Hook`].
        pub returns: [u32; 16],

        /// What was unmapped where.
        pub mappings: [Mapping; MAX_MAPPINGS],
    }
    size 200 + 32 * Verdict::COUNT + 56 + 128 + 24 * MAX_MAPPINGS
}

const _: () = assert!(Hook::COUNT <= 16);
const _: () = assert!(TASK_SLOTS.is_power_of_two());

shared! {
    /// One futile unmap, for those who ask for them.
    pub struct Event {
        /// At the return of `try_to_unmap`, in ns of CLOCK_MONOTONIC.
        pub time: u64,
        /// Where the folio was last mapped.
        pub address: u64,
        /// The folio's address in the kernel: an identity, not to be shown.
        pub folio: u64,
        /// Excess references.
        pub excess: i64,
        /// Time in `try_to_unmap`, in ns.
        pub unmap_ns: u64,
        /// Time in the notifier, in ns.
        pub notifier_ns: u64,
        /// The first process whose mapping went.
        pub victim: VictimKey,
        /// Its refcount at the return.
        pub refcount: u32,
        /// Notifier calls.
        pub notifier_calls: u32,
        /// Mappings removed.
        pub mappings: u32,
        /// How often this folio has now been unmapped in vain; 0: not known.
        pub times: u32,
        /// The pid (tid) of the task that was reclaiming.
        pub reclaimer_tid: u32,
        /// A [`crate::Reclaimer`].
        pub reclaimer: u8,
        /// A [`crate::Memory`].
        pub memory: u8,
        /// The folio's order.
        pub order: u8,
        /// A [`Verdict`].
        pub verdict: u8,
        /// The comm of that task.
        pub reclaimer_comm: [u8; COMM_LEN],
    }
    size 104
}
