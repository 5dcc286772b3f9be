//! Finds the state of the running task, without hashing on the hot path.
//!
//! A task's home slot is its tid modulo the number of slots. A task claims a slot once per
//! shrink call through a hash map, whose insert is atomic on every kernel (5.10 has no
//! compare-and-exchange in BPF). After that, an array lookup, which the verifier inlines, and
//! one comparison find the slot again.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use probe_ebpf::maps::{PHASE_IDLE, TASK_PROBES, TASK_SLOTS, TaskState};

use crate::maps::{CLAIMS, TASKS, add, lost};

const MASK: u32 = TASK_SLOTS - 1;
/// `BPF_NOEXIST` (include/uapi/linux/bpf.h).
pub const NOEXIST: u64 = 1;

#[inline(always)]
fn current_tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

#[inline(always)]
fn slot(index: u32) -> Option<&'static mut TaskState> {
    TASKS.get_ptr_mut(index & MASK).map(|p| unsafe { &mut *p })
}

/// Returns the running task's state, if it is inside reclaim.
#[inline(always)]
pub fn current() -> Option<&'static mut TaskState> {
    let tid = current_tid();
    let home = slot(tid)?;
    if home.tid == tid {
        return Some(home);
    }
    if home.displaced == 0 {
        return None;
    }
    find(tid, 1)
}

#[inline(always)]
fn find(tid: u32, from: u32) -> Option<&'static mut TaskState> {
    for i in from..TASK_PROBES {
        let state = slot(tid.wrapping_add(i))?;
        if state.tid == tid {
            return Some(state);
        }
    }
    None
}

/// Returns the running task's state, and claims a slot if the task has none yet. A task that
/// finds no slot is counted as lost.
#[inline(always)]
pub fn claim() -> Option<&'static mut TaskState> {
    let tid = current_tid();
    if let Some(state) = find(tid, 0) {
        return Some(state);
    }
    for i in 0..TASK_PROBES {
        let index = tid.wrapping_add(i) & MASK;
        if CLAIMS.insert(index, tid, NOEXIST).is_ok() {
            if i > 0 {
                displaced(tid & MASK, 1);
            }
            let state = slot(index)?;
            state.slot = index;
            state.home = tid & MASK;
            state.in_shrink = 0;
            state.in_reclaim_pages = 0;
            state.phase = PHASE_IDLE;
            state.tid = tid;
            return Some(state);
        }
    }
    lost!(tasks, 1);
    None
}

/// Gives a task's slot back.
#[inline(always)]
pub fn release(state: &mut TaskState) {
    let (index, home) = (state.slot, state.home);
    state.tid = 0;
    if index != home {
        displaced(home, u64::MAX);
    }
    let _ = CLAIMS.remove(index);
}

/// Adds to the number of tasks whose slot is beyond their home, `home`; `u64::MAX` is −1.
#[inline(always)]
fn displaced(home: u32, by: u64) {
    if let Some(state) = slot(home) {
        add(&raw mut state.displaced, by);
    }
}
