//! Examines a folio after its unmap: mappings left, excess references, pinned or not.

use core::mem::MaybeUninit;

use probe_ebpf::{
    Hook,
    maps::TaskState,
    verdict::{EXAMINED, MAPPED, PINNED, UNTOUCHED},
};

use crate::{
    folio::{self, Head},
    maps::{hooked, layout},
    victim,
};

/// Adds to the open unmap what the folio shows now.
#[inline(always)]
pub fn examine(state: &mut TaskState) {
    let mut place = MaybeUninit::uninit();
    let Some(head) = Head::read(&mut place, state.folio) else {
        return;
    };
    let (mapcount, entire, mapped) = if state.order == 0 {
        let mapcount = head.small_mapcount();
        (mapcount, 0, mapcount != 0)
    } else {
        (
            folio::large_mapcount(state.folio),
            folio::entire_mapcount(state.folio),
            folio::large_mapped(state.folio, state.nr_pages),
        )
    };
    if state.walked > 0 {
        victim::removed(state, mapcount, entire);
    }
    let refcount = head.refcount();
    let mut bits = state.bits | EXAMINED;
    // Where a program may be skipped, a walk that was not seen proves nothing.
    if state.walked == 0 && hooked(Hook::UnmapOne) && layout!(preemptible) == 0 {
        bits |= UNTOUCHED;
    }
    state.refcount = refcount;
    if mapped {
        bits |= MAPPED;
    } else {
        state.excess = head.excess(state.nr_pages);
        if state.excess > 0 && folio::maybe_pinned(state.folio, refcount, state.order) {
            bits |= PINNED;
        }
    }
    state.bits = bits;
}
