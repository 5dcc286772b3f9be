//! `__mmu_notifier_invalidate_range_start(range)`: a notifier call inside an unmap.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use probe_ebpf::Hook;

use crate::{
    flavours::{at_entry, at_return},
    maps::{hooked, layout},
    notifier::{took, unmapping},
    read::pointer,
    record::flush_subscribers,
    subscribers::find_subscribers,
};

at_entry!(k_start_enter, f_start_enter, (ctx, range = 0) enter(range));
at_return!(k_start_exit, f_start_exit, (_ctx) took(Hook::NotifierStart));

#[inline(always)]
fn enter(range: u64) -> Option<()> {
    let state = unmapping()?;
    state.entries[Hook::NotifierStart as usize] += 1;
    state.notifier_calls += 1;
    state.subscriber_calls += 1;
    // Where programs may be skipped, the walk's mm may be that of another VMA.
    let mm = if hooked(Hook::UnmapOne) && layout!(preemptible) == 0 {
        state.victim.mm
    } else {
        pointer(range, layout!(range_mm))
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
