//! `__mmu_notifier_invalidate_range_end(range)`: the time of a notifier call's other half.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use probe_ebpf::Hook;

use crate::{
    flavours::{at_entry, at_return},
    notifier::{took, unmapping},
};

at_entry!(k_end_enter, f_end_enter, (_ctx) enter());
at_return!(k_end_exit, f_end_exit, (_ctx) took(Hook::NotifierEnd));

#[inline(always)]
fn enter() -> Option<()> {
    let state = unmapping()?;
    state.entries[Hook::NotifierEnd as usize] += 1;
    state.notifier_entered = unsafe { bpf_ktime_get_ns() };
    Some(())
}
