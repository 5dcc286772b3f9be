//! `reclaim_pages(…)`: brackets reclaim that `MADV_PAGEOUT` or DAMON requested.

use probe_ebpf::Hook;

use crate::{
    flavours::{at_entry, at_return},
    record::flush,
    task,
};

at_entry!(k_reclaim_enter, f_reclaim_enter, (_ctx) enter());
at_return!(k_reclaim_exit, f_reclaim_exit, (_ctx) exit());

#[inline(always)]
fn enter() -> Option<()> {
    let state = task::claim()?;
    state.entries[Hook::ReclaimPages as usize] += 1;
    state.in_reclaim_pages = 1;
    Some(())
}

#[inline(always)]
fn exit() -> Option<()> {
    let state = task::current()?;
    if state.in_reclaim_pages == 0 {
        return None;
    }
    state.returns[Hook::ReclaimPages as usize] += 1;
    state.in_reclaim_pages = 0;
    if state.in_shrink == 0 {
        flush(state);
        task::release(state);
    }
    Some(())
}
