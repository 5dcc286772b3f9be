//! The maps, and the layout of the running kernel.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use probe_ebpf::{
    Hook, KernelLayout, Verdict,
    maps::{
        FolioHists, GroupCounts, GroupKey, HookHits, Lost, Subscriber, TASK_SLOTS, TaskState,
        TimeHists, Victim, VictimKey,
    },
};

/// User space fills this in before it loads the programs.
#[unsafe(no_mangle)]
pub static LAYOUT: KernelLayout = KernelLayout::UNKNOWN;

/// Reads one field of the layout, a constant to the verifier.
macro_rules! layout {
    ($field:ident) => {
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::LAYOUT.$field) }
    };
}
pub(crate) use layout;

/// Whether user space is going to attach a hook.
#[inline(always)]
pub fn hooked(hook: Hook) -> bool {
    layout!(hooks) & (1 << hook as u32) != 0
}

#[map]
pub static TASKS: Array<TaskState> = Array::with_max_entries(TASK_SLOTS, 0);
#[map]
pub static CLAIMS: HashMap<u32, u32> = HashMap::with_max_entries(TASK_SLOTS, 0);
#[map]
pub static GROUPS: HashMap<GroupKey, GroupCounts> = HashMap::with_max_entries(4096, 0);
/// A group has room here by reclaimer, memory and order alone, so every one fits.
#[map]
pub static SHARED_GROUPS: HashMap<GroupKey, GroupCounts> = HashMap::with_max_entries(1024, 0);
#[map]
pub static VICTIMS: HashMap<VictimKey, Victim> = HashMap::with_max_entries(4096, 0);
#[map]
pub static CGROUP_NAMES: RingBuf = RingBuf::with_byte_size(512 * 1024, 0);
#[map]
pub static NAMED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(8192, 0);
#[map]
pub static FOLIOS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(65536, 0);
#[map]
pub static SUBSCRIBERS: HashMap<u64, Subscriber> = HashMap::with_max_entries(64, 0);
#[map]
pub static TIMES: PerCpuArray<TimeHists> = PerCpuArray::with_max_entries(Verdict::COUNT as u32, 0);
#[map]
pub static FOLIO_HISTS: PerCpuArray<FolioHists> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static HOOKS: PerCpuArray<HookHits> = PerCpuArray::with_max_entries(Hook::COUNT as u32, 0);
#[map]
pub static LOST: PerCpuArray<Lost> = PerCpuArray::with_max_entries(1, 0);
/// The second that the event budget applies to, and how much of it is used.
#[map]
pub static BUDGET: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);
/// The value that a new group starts from, never written. It is too large for the stack.
#[map]
pub static ZERO_GROUP: PerCpuArray<GroupCounts> = PerCpuArray::with_max_entries(1, 0);

/// Adds to a counter that CPUs share.
#[inline(always)]
pub fn add(counter: *mut u64, n: u64) {
    // In assembly, because core offers no atomic arithmetic for this target; and without a
    // fetched result, because BPF can return one only from 5.12 on.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) n) }
}

/// Adds to a counter that only this CPU writes.
///
/// The addition needn't be atomic where nothing can interrupt it: kprobe programs run with
/// preemption off, and fentry programs can't be preempted where the kernel doesn't preempt its
/// own code.
#[inline(always)]
pub fn add_own(counter: *mut u64, n: u64) {
    if layout!(preemptible) != 0 {
        add(counter, n);
    } else {
        unsafe { *counter = (*counter).wrapping_add(n) }
    }
}

/// Counts lost data: `lost!(groups, 3)`.
macro_rules! lost {
    ($field:ident, $n:expr) => {
        if let Some(lost) = $crate::maps::LOST.get_ptr_mut(0) {
            $crate::maps::add(unsafe { &raw mut (*lost).$field }, $n);
        }
    };
}
pub(crate) use lost;
