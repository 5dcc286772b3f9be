//! `try_to_unmap(folio, flags)`: opens an unmap at the entry, examines the folio at the return.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use probe_ebpf::{
    Hook,
    maps::{PHASE_OPEN, PHASE_UNMAP},
};

use crate::{
    close::close,
    examine::examine,
    flavours::{at_entry, at_return},
    folio::{self, Head},
    maps::{hooked, layout},
    record, task,
};

at_entry!(k_unmap_enter, f_unmap_enter, (ctx, folio = 0, flags = 1) enter(folio, flags));
at_return!(k_unmap_exit, f_unmap_exit, (_ctx) exit());

#[inline(always)]
fn enter(folio: u64, flags: u64) -> Option<()> {
    let flags = flags as u32;
    let required = layout!(ttu_required);
    if flags & required != required || flags & layout!(ttu_excluded) != 0 {
        return None;
    }
    let state = if hooked(Hook::ShrinkList) {
        task::current()?
    } else {
        // Nothing brackets the batch: each unmap is counted by itself.
        task::claim()?
    };
    close(state, hooked(Hook::ShrinkList));
    state.entries[Hook::Unmap as usize] += 1;
    state.phase = PHASE_UNMAP;
    state.bits = 0;
    state.folio = folio;
    state.excess = 0;
    state.notifier_calls = 0;
    state.notifier_ns = 0;
    state.notifier_entered = 0;
    state.walked = 0;
    state.unmap_ns = 0;
    state.order = 0;
    state.nr_pages = 1;
    state.entire_mapcount = 0;
    let mut place = MaybeUninit::uninit();
    match Head::read(&mut place, folio) {
        Some(head) => {
            state.memory = head.memory() as u8;
            state.mapping = head.mapping();
            if head.is_large() {
                state.nr_pages = folio::nr_pages(folio);
                state.order = folio::order(state.nr_pages);
                state.mapcount = folio::large_mapcount(folio);
                state.entire_mapcount = folio::entire_mapcount(folio);
            } else {
                state.mapcount = head.small_mapcount();
            }
        }
        None => {
            state.memory = 0;
            state.mapping = 0;
            state.mapcount = 0;
        }
    }
    // Last, so that as little as possible of the time is the probe's own.
    state.entered = unsafe { bpf_ktime_get_ns() };
    Some(())
}

#[inline(always)]
fn exit() -> Option<()> {
    let state = task::current()?;
    if state.phase != PHASE_UNMAP {
        return None;
    }
    state.unmap_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(state.entered);
    state.returns[Hook::Unmap as usize] += 1;
    state.phase = PHASE_OPEN;
    examine(state);
    if !hooked(Hook::ShrinkList) {
        close(state, false);
        record::flush(state);
        // Otherwise `reclaim_pages` gives the slot back.
        if state.in_reclaim_pages == 0 {
            task::release(state);
        }
    }
    Some(())
}
