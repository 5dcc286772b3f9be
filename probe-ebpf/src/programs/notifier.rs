//! The MMU notifier calls nested in an unmap, their time, and who listens.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use probe_ebpf::{
    Hook,
    facts::ABSENT,
    maps::{INTERVAL_NOTIFIERS, MAX_SUBSCRIBERS, NO_SUBSCRIBER, PHASE_UNMAP, TaskState},
};

use crate::{
    maps::{fact, hooked},
    read::{pointer, read_or},
    record::flush_subscribers,
    task,
};

#[inline(always)]
fn unmapping() -> Option<&'static mut TaskState> {
    let state = task::current()?;
    if state.phase == PHASE_UNMAP {
        Some(state)
    } else {
        None
    }
}

/// At the entry of `__mmu_notifier_invalidate_range_start`.
#[inline(always)]
pub fn start_enter(range: u64) -> Option<()> {
    let state = unmapping()?;
    state.entries[Hook::NotifierStart as usize] += 1;
    state.notifier_calls += 1;
    state.subscriber_calls += 1;
    // Where programs may be skipped, the walk's mm may be that of another VMA.
    let mm = if hooked(Hook::UnmapOne) && fact!(preemptible) == 0 {
        state.victim.mm
    } else {
        pointer(range, fact!(range_mm))
    };
    if state.subscribers_mm != mm {
        state.subscriber_calls -= 1;
        flush_subscribers(state);
        state.subscriber_calls = 1;
        find_subscribers(state, mm);
    }
    state.notifier_entered = unsafe { bpf_ktime_get_ns() };
    Some(())
}

/// At its return.
#[inline(always)]
pub fn start_exit() -> Option<()> {
    took(Hook::NotifierStart)
}

/// At the entry of `__mmu_notifier_invalidate_range_end`.
#[inline(always)]
pub fn end_enter() -> Option<()> {
    let state = unmapping()?;
    state.entries[Hook::NotifierEnd as usize] += 1;
    state.notifier_entered = unsafe { bpf_ktime_get_ns() };
    Some(())
}

/// At its return.
#[inline(always)]
pub fn end_exit() -> Option<()> {
    took(Hook::NotifierEnd)
}

#[inline(always)]
fn took(hook: Hook) -> Option<()> {
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

/// Reads the callbacks that listen on an mm (mm/mmu_notifier.c: `mn_hlist_invalidate_range_start`
/// and `mn_itree_invalidate`). Once for each mm and batch.
#[inline(always)]
fn find_subscribers(state: &mut TaskState, mm: u64) -> Option<()> {
    state.subscribers_mm = mm;
    state.subscribers = [0; MAX_SUBSCRIBERS];
    state.subscribers[0] = NO_SUBSCRIBER;
    if fact!(mm_subscriptions) == ABSENT {
        return None;
    }
    let subscriptions = pointer(mm, fact!(mm_subscriptions));
    if subscriptions == 0 {
        return None;
    }
    let mut next = pointer(subscriptions, fact!(subscriptions_list));
    let mut found = 0;
    for _ in 0..MAX_SUBSCRIBERS {
        if next == 0 {
            break;
        }
        let ops = pointer(next, fact!(notifier_ops));
        if ops == 0 {
            break;
        }
        let mut callback = pointer(ops, fact!(ops_start));
        if callback == 0 {
            // A subscriber may listen to the end alone.
            callback = pointer(ops, fact!(ops_end));
        }
        if callback != 0 && found < MAX_SUBSCRIBERS {
            state.subscribers[found & (MAX_SUBSCRIBERS - 1)] = callback;
            found += 1;
        }
        next = pointer(next, fact!(notifier_next));
    }
    if found < MAX_SUBSCRIBERS && read_or(subscriptions, fact!(subscriptions_itree), 0u8) != 0 {
        state.subscribers[found & (MAX_SUBSCRIBERS - 1)] = INTERVAL_NOTIFIERS;
    }
    Some(())
}
