//! The time of the MMU notifier calls nested in an unmap.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use probe_ebpf::{
    Hook,
    maps::{PHASE_UNMAP, TaskState},
};

use crate::task;

/// Returns the running task's state, if it is inside an unmap.
#[inline(always)]
pub fn unmapping() -> Option<&'static mut TaskState> {
    let state = task::current()?;
    if state.phase == PHASE_UNMAP {
        Some(state)
    } else {
        None
    }
}

/// Adds the time since the entry of the running notifier call.
#[inline(always)]
pub fn took(hook: Hook) -> Option<()> {
    let state = unmapping()?;
    if state.notifier_entered == 0 {
        return None;
    }
    let ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(state.notifier_entered);
    state.returns[hook as usize] += 1;
    state.notifier_entered = 0;
    state.notifier_ns += ns;
    state.subscriber_ns += ns;
    Some(())
}
