//! Who subscribes to the MMU notifiers of an mm.

use probe_ebpf::{
    layout::ABSENT,
    maps::{INTERVAL_NOTIFIERS, MAX_SUBSCRIBERS, NO_SUBSCRIBER, TaskState},
};

use crate::{
    maps::layout,
    read::{pointer, read_or},
};

/// Reads the callbacks subscribed to an mm (mm/mmu_notifier.c:
/// `mn_hlist_invalidate_range_start` and `mn_itree_invalidate`), once per mm and batch.
#[inline(always)]
pub fn find_subscribers(state: &mut TaskState, mm: u64) -> Option<()> {
    state.subscribers_mm = mm;
    state.subscribers = [0; MAX_SUBSCRIBERS];
    state.subscribers[0] = NO_SUBSCRIBER;
    if layout!(mm_subscriptions) == ABSENT {
        return None;
    }
    let subscriptions = pointer(mm, layout!(mm_subscriptions));
    if subscriptions == 0 {
        return None;
    }
    let mut next = pointer(subscriptions, layout!(subscriptions_list));
    let mut found = 0;
    for _ in 0..MAX_SUBSCRIBERS {
        if next == 0 {
            break;
        }
        let ops = pointer(next, layout!(notifier_ops));
        if ops == 0 {
            break;
        }
        let mut callback = pointer(ops, layout!(ops_start));
        if callback == 0 {
            // A subscriber may have a callback for the end alone.
            callback = pointer(ops, layout!(ops_end));
        }
        if callback != 0 && found < MAX_SUBSCRIBERS {
            state.subscribers[found & (MAX_SUBSCRIBERS - 1)] = callback;
            found += 1;
        }
        next = pointer(next, layout!(notifier_next));
    }
    if found < MAX_SUBSCRIBERS && read_or(subscriptions, layout!(subscriptions_itree), 0u8) != 0 {
        state.subscribers[found & (MAX_SUBSCRIBERS - 1)] = INTERVAL_NOTIFIERS;
    }
    Some(())
}
