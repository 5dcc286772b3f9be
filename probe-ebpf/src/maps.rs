//! The keys and values of every map, with their sizes asserted.
//!
//! | map | type | key → value |
//! |---|---|---|
//! | `TASKS` | array | slot → [`TaskState`] |
//! | `CLAIMS` | hash | slot → tid of its owner |
//! | `GROUPS` | hash | [`GroupKey`] → [`GroupCounts`] |
//! | `SHARED_GROUPS` | hash | [`GroupKey`] of [`OTHERS`] → [`GroupCounts`] |
//! | `VICTIMS` | hash | [`VictimKey`] → [`Victim`] |
//! | `CGROUP_NAMES` | ring buffer | [`CgroupName`] |
//! | `NAMED` | LRU hash | id of a cgroup whose name was sent → 0 |
//! | `FOLIOS` | LRU hash | folio → its futile unmaps |
//! | `SUBSCRIBERS` | hash | callback → [`Subscriber`] |
//! | `TIMES` | per-CPU array | verdict → [`TimeHists`] |
//! | `FOLIO_HISTS` | per-CPU array | 0 → [`FolioHists`] |
//! | `HOOKS` | per-CPU array | hook → [`HookHits`] |
//! | `LOST` | per-CPU array | 0 → [`Lost`] |
//! | `EVENTS` | ring buffer | [`Event`] |

use crate::{
    hist::{Hist, Octaves},
    hooks::Hook,
    shared::shared,
    verdict::Verdict,
    words::Reclaimer,
};

/// The number of tasks that can be followed at the same time. A power of two.
pub const TASK_SLOTS: u32 = 2048;
/// The number of slots that a task tries, starting with its home slot.
pub const TASK_PROBES: u32 = 4;
/// The number of a folio's mappings that are remembered until its verdict; more are lost.
pub const MAX_MAPPINGS: usize = 32;
/// The number of notifier callbacks of one mm that are counted, at most.
pub const MAX_SUBSCRIBERS: usize = 4;
/// The value in place of a callback's address for interval notifiers, which the kernel keeps in
/// a tree by range.
pub const INTERVAL_NOTIFIERS: u64 = 1;
/// The value in place of a callback's address where none was found. The kernel goes on making
/// the call after an mm's last subscriber has left.
pub const NO_SUBSCRIBER: u64 = 2;
/// The value in place of a callback's address for those that found `SUBSCRIBERS` full.
pub const OTHER_SUBSCRIBERS: u64 = 3;
/// The key of all victims that found a map full. User space puts it into `VICTIMS` beforehand.
pub const OTHERS: VictimKey = VictimKey {
    mm: 0,
    tgid: u32::MAX,
    pad: u32::MAX,
};
/// The levels of a cgroup's path below the root that are read, at most.
pub const NAME_LEVELS: usize = 10;
/// The bytes of one level's name, with its NUL.
pub const NAME_BYTES: usize = 96;
/// The rows of [`TimeHists::by_reclaimer`]: a power of two, so that the verifier sees the bound.
pub const RECLAIMER_ROWS: usize = 8;
/// `TASK_COMM_LEN` (include/linux/sched.h).
pub const COMM_LEN: usize = 16;

shared! {
    /// A process that lost mappings. The address of an mm may be reused after it is gone; the
    /// pid distinguishes the next owner. By cgroup ([`crate::VictimsBy::Cgroup`]) `mm` is 0, and
    /// `tgid` and `pad` are the lower and upper half of the cgroup's id. If victims are not kept,
    /// all three are 0.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct VictimKey {
        /// The address of the `mm_struct`; 0: unknown.
        pub mm: u64,
        /// The tgid of the owner; 0: the owner is gone or unknown.
        pub tgid: u32,
        /// Zero, except by cgroup.
        pub pad: u32,
    }
    size 16
}

shared! {
    /// The group that an unmap is counted in. The verdict is the index in the value.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct GroupKey {
        /// The first process that lost its mapping.
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
    /// The counters of one group and verdict.
    #[derive(Default, PartialEq, Eq)]
    pub struct Counts {
        /// Unmaps.
        pub folios: u64,
        /// Pages of those folios.
        pub pages: u64,
        /// Notifier calls (`__mmu_notifier_invalidate_range_start`) nested in the unmaps.
        pub notifier_calls: u64,
        /// Time in those calls and in the matching `_end` calls, in ns.
        pub notifier_ns: u64,
        /// Time from entry to return of `try_to_unmap`, in ns, including the probes' own.
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
    /// The value of `VICTIMS`: a process, and what it lost to futile unmaps.
    pub struct Victim {
        /// Mappings (of one folio in one VMA) removed by futile unmaps.
        pub mappings: u64,
        /// The pages of those mappings.
        pub pages: u64,
        /// The id of the process's cgroup in the v2 hierarchy; 0: unknown.
        pub cgroup: u64,
        /// The group leader's comm when the first mapping was walked, NUL-padded.
        pub comm: [u8; COMM_LEN],
    }
    size 40
}

shared! {
    /// A cgroup's name, sent to user space when the first of its processes loses a mapping: it is
    /// known even if the directory is gone a moment later.
    pub struct CgroupName {
        /// The id: the inode number of its directory.
        pub id: u64,
        /// The number of levels below the root.
        pub levels: u32,
        /// 1: the path has more levels than [`NAME_LEVELS`], or a name couldn't be read.
        pub partial: u32,
        /// The directories' names (`kernfs_node.name`), the cgroup's own first, each with a NUL.
        pub names: [[u8; NAME_BYTES]; NAME_LEVELS],
    }
    size 16 + NAME_LEVELS * NAME_BYTES
}

shared! {
    /// The value of `SUBSCRIBERS`. Where a process has several subscribers, each is counted with
    /// all calls and all their time: an upper bound, which `shared_calls` makes visible.
    #[derive(Default)]
    pub struct Subscriber {
        /// Notifier calls nested in reclaim's unmaps that this callback took part in.
        pub calls: u64,
        /// Time in those calls, in ns.
        pub ns: u64,
        /// The calls among them in which other subscribers took part too.
        pub shared_calls: u64,
    }
    size 24
}

shared! {
    /// The value of `TIMES`.
    pub struct TimeHists {
        /// Time in `try_to_unmap`, in ns.
        pub unmap_ns: Hist,
        /// Time in all notifier calls of one unmap, in ns; only of unmaps that had any.
        pub notifier_ns: Hist,
        /// Time in `try_to_unmap`, in ns, by [`Reclaimer`]. In this value, so that a program finds
        /// both by one lookup.
        pub by_reclaimer: [Octaves; RECLAIMER_ROWS],
    }
    size 2 * core::mem::size_of::<Hist>() + RECLAIMER_ROWS * core::mem::size_of::<Octaves>()
}

const _: () = assert!(Reclaimer::COUNT <= RECLAIMER_ROWS && RECLAIMER_ROWS.is_power_of_two());

shared! {
    /// The value of `FOLIO_HISTS`, about futile unmaps.
    pub struct FolioHists {
        /// Excess references.
        pub excess: Hist,
        /// Futile unmaps of one folio. A folio moves from bucket to bucket, so buckets of
        /// different CPUs must be added with wrapping; `sum` is unmaps.
        pub per_folio: Hist,
    }
    size 2 * core::mem::size_of::<Hist>()
}

shared! {
    /// The value of `HOOKS`: calls that belong to reclaim.
    #[derive(Default)]
    pub struct HookHits {
        /// Entries.
        pub entries: u64,
        /// Returns, for hooks that have a return probe.
        pub returns: u64,
    }
    size 16
}

shared! {
    /// The data that didn't fit, by map. Nothing is dropped without being counted here.
    #[derive(Default)]
    pub struct Lost {
        /// Shrink calls of tasks that found no slot in `TASKS`, whose unmaps are not counted.
        pub tasks: u64,
        /// Unmaps whose group didn't fit `GROUPS`: they count in `SHARED_GROUPS`.
        pub groups: u64,
        /// Futile mappings whose process didn't fit `VICTIMS`: they count under [`OTHERS`].
        pub victims: u64,
        /// Futile mappings beyond [`MAX_MAPPINGS`] of one folio.
        pub mappings: u64,
        /// Futile unmaps whose folio didn't fit `FOLIOS`.
        pub folios: u64,
        /// Notifier calls whose callback didn't fit `SUBSCRIBERS`: they count under
        /// [`OTHER_SUBSCRIBERS`].
        pub subscribers: u64,
        /// Events that found the ring buffer full.
        pub events: u64,
        /// Events over the budget: not requested, so not lost.
        pub events_over_budget: u64,
        /// Kernel memory that couldn't be read.
        pub reads: u64,
    }
    size 72
}

shared! {
    /// A mapping of the folio, kept until the unmap's verdict.
    pub struct Mapping {
        /// The process.
        pub victim: VictimKey,
        /// Pages unmapped there; 0: the VMA didn't map the folio.
        pub pages: u64,
    }
    size 24
}

shared! {
    /// The counters of one group in a task's shrink call, until they are added to the maps.
    pub struct Pending {
        /// Unmaps.
        pub folios: u32,
        /// Pages of those folios.
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

impl Subscriber {
    /// Nothing counted yet.
    pub const NONE: Subscriber = Subscriber {
        calls: 0,
        ns: 0,
        shared_calls: 0,
    };
}

impl GroupKey {
    /// Whether two keys are equal, ignoring the padding: this runs for every folio.
    #[inline(always)]
    pub fn same(&self, other: &GroupKey) -> bool {
        self.victim.mm == other.victim.mm
            && self.victim.tgid == other.victim.tgid
            && self.reclaimer == other.reclaimer
            && self.memory == other.memory
            && self.order == other.order
    }
}

impl VictimKey {
    /// The cgroup that the key stands for, where victims are kept by cgroup.
    pub const fn cgroup(&self) -> u64 {
        self.tgid as u64 | (self.pad as u64) << 32
    }
}

/// [`TaskState::phase`]: between folios.
pub const PHASE_IDLE: u32 = 0;
/// [`TaskState::phase`]: inside `try_to_unmap`.
pub const PHASE_UNMAP: u32 = 1;
/// [`TaskState::phase`]: `try_to_unmap` has returned, the verdict is open.
pub const PHASE_OPEN: u32 = 2;

shared! {
    /// The value of `TASKS`: one task that is reclaiming, and its open unmap.
    ///
    /// Counters collect here and are added to the shared maps when the shrink call ends or the
    /// group changes, so a batch of up to 32 folios costs one map update.
    pub struct TaskState {
        /// The number of tasks whose home is here and whose slot is further on.
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
        /// The folio's order.
        pub order: u8,
        /// Zero.
        pub pad: u8,
        /// The folio's pages.
        pub nr_pages: u32,
        /// The folio's address.
        pub folio: u64,
        /// `folio.mapping` at the entry.
        pub mapping: u64,
        /// The folio's excess references.
        pub excess: i64,
        /// The time of the entry of `try_to_unmap`, in ns of CLOCK_MONOTONIC.
        pub entered: u64,
        /// The time in `try_to_unmap`, in ns.
        pub unmap_ns: u64,
        /// The time of the entry of the running notifier call; 0: none is running.
        pub notifier_entered: u64,
        /// Time in notifier calls of the open unmap, in ns.
        pub notifier_ns: u64,
        /// Notifier calls of the open unmap.
        pub notifier_calls: u32,
        /// Mappings left when last read.
        pub mapcount: u32,
        /// Mappings of the folio as a whole (PMD) left when last read.
        pub entire_mapcount: u32,
        /// The folio's refcount at the return.
        pub refcount: u32,
        /// The address of the last VMA walk.
        pub address: u64,

        /// VMAs walked: the number of `mappings` in use, at most [`MAX_MAPPINGS`].
        pub walked: u32,
        /// Zero.
        pub pad1: u32,
        /// The process of the VMA that is being walked, which is the last one resolved.
        pub victim: VictimKey,

        /// The group of `pending`.
        pub pending_key: GroupKey,
        /// Futile mappings of `pending_key.victim` not yet added to `VICTIMS`.
        pub victim_mappings: u32,
        /// Pages of those mappings.
        pub victim_pages: u32,
        /// The excess references of the last futile unmaps, which are mostly the same.
        pub excess_value: u64,
        /// The number of unmaps with that many, not yet added to `FOLIO_HISTS`.
        pub excess_count: u64,
        /// By [`Verdict`].
        pub pending: [Pending; Verdict::COUNT],

        /// The mm that `subscribers` belong to.
        pub subscribers_mm: u64,
        /// Callbacks ([`INTERVAL_NOTIFIERS`] for the interval tree); 0: none.
        pub subscribers: [u64; MAX_SUBSCRIBERS],
        /// Notifier calls of that mm not yet added to `SUBSCRIBERS`.
        pub subscriber_calls: u64,
        /// Time in those calls, in ns.
        pub subscriber_ns: u64,

        /// Entries by [`Hook`], not yet added to `HOOKS`.
        pub entries: [u32; 16],
        /// Returns by [`Hook`], not yet added to `HOOKS`.
        pub returns: [u32; 16],

        /// The mappings of the open unmap.
        pub mappings: [Mapping; MAX_MAPPINGS],
    }
    size 200 + 32 * Verdict::COUNT + 56 + 128 + 24 * MAX_MAPPINGS
}

const _: () = assert!(Hook::COUNT <= 16);
const _: () = assert!(TASK_SLOTS.is_power_of_two());

shared! {
    /// An individual futile unmap, where the user wants them recorded.
    pub struct Event {
        /// The time of the return of `try_to_unmap`, in ns of CLOCK_MONOTONIC.
        pub time: u64,
        /// The last address that the folio was mapped at.
        pub address: u64,
        /// The folio's address in the kernel: an identity that must not be shown.
        pub folio: u64,
        /// Excess references.
        pub excess: i64,
        /// Time in `try_to_unmap`, in ns.
        pub unmap_ns: u64,
        /// Time in the notifier, in ns.
        pub notifier_ns: u64,
        /// The first process that lost its mapping.
        pub victim: VictimKey,
        /// The folio's refcount at the return.
        pub refcount: u32,
        /// Notifier calls.
        pub notifier_calls: u32,
        /// Mappings removed.
        pub mappings: u32,
        /// The number of futile unmaps of this folio so far; 0: unknown.
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
