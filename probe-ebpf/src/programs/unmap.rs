//! One unmap: from `try_to_unmap` to what `shrink_folio_list` then does with the folio.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use probe_ebpf::{
    Hook,
    maps::{PHASE_OPEN, PHASE_UNMAP, TaskState},
    verdict::{
        EXAMINED, FREED, FREEZE_FAILED, MAPPED, PINNED, REMOVE_FAILED, REMOVING, UNTOUCHED, WRITTEN,
    },
};

use crate::{
    close::close,
    folio::{self, Head},
    maps::{fact, hooked},
    record, task, victim,
};

/// At the entry of `try_to_unmap`.
#[inline(always)]
pub fn enter(folio: u64, flags: u64) -> Option<()> {
    let flags = flags as u32;
    let required = fact!(ttu_required);
    if flags & required != required || flags & fact!(ttu_excluded) != 0 {
        return None;
    }
    let state = if hooked(Hook::ShrinkList) {
        task::current()?
    } else {
        // Nothing brackets the batch: each unmap stands alone.
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
    // Last, so that the time is the kernel's as far as can be.
    state.entered = unsafe { bpf_ktime_get_ns() };
    Some(())
}

/// At the entry of `try_to_unmap_one`: the folio is looked for in one VMA.
#[inline(always)]
pub fn one(vma: u64, address: u64) -> Option<()> {
    let state = task::current()?;
    if state.phase != PHASE_UNMAP {
        return None;
    }
    state.entries[Hook::UnmapOne as usize] += 1;
    if state.walked > 0 {
        let (mapcount, entire) = if state.order == 0 {
            let mut place = MaybeUninit::uninit();
            (Head::read(&mut place, state.folio)?.small_mapcount(), 0)
        } else {
            (
                folio::large_mapcount(state.folio),
                folio::entire_mapcount(state.folio),
            )
        };
        victim::removed(state, mapcount, entire);
    }
    victim::walk(state, vma, address)
}

/// At the return of `try_to_unmap`.
#[inline(always)]
pub fn exit() -> Option<()> {
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
        // Else `reclaim_pages` gives the slot back.
        if state.in_reclaim_pages == 0 {
            task::release(state);
        }
    }
    Some(())
}

/// Looks at the folio after its unmap: mappings left, excess references, pinned or not.
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
    // Where a program may be skipped, an unseen walk proves nothing.
    if state.walked == 0 && hooked(Hook::UnmapOne) && fact!(preemptible) == 0 {
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

/// At the entry of `__remove_mapping`: `Some` if it is for the folio whose verdict is open.
#[inline(always)]
pub fn remove_enter(folio: u64) -> Option<()> {
    let state = task::current()?;
    if state.phase != PHASE_OPEN || state.folio != folio {
        // Of a folio that wasn't mapped: its return isn't the open one's either.
        state.bits &= !REMOVING;
        return None;
    }
    state.entries[Hook::RemoveMapping as usize] += 1;
    // Failed, until its return says otherwise.
    state.bits |= REMOVING | REMOVE_FAILED;
    Some(())
}

/// At its return, which doesn't know the folio: the entry has left its mark.
#[inline(always)]
pub fn remove_exit(ret: i32) -> Option<()> {
    let state = task::current()?;
    if state.phase != PHASE_OPEN || state.bits & REMOVING == 0 {
        return None;
    }
    state.returns[Hook::RemoveMapping as usize] += 1;
    state.bits &= !REMOVING;
    if ret != 0 {
        state.bits |= FREED;
    }
    Some(())
}

/// `pageout` handed the folio to its file system or to swap.
#[inline(always)]
pub fn written(folio: u64) -> Option<()> {
    let state = task::current()?;
    if state.phase == PHASE_OPEN && state.folio == folio {
        state.entries[Hook::WriteFolio as usize] += 1;
        state.bits |= WRITTEN;
    }
    Some(())
}

/// `page_ref_freeze` was tried.
#[inline(always)]
pub fn ref_freeze(folio: u64, ret: i32) -> Option<()> {
    let state = task::current()?;
    if state.phase == PHASE_OPEN && state.folio == folio {
        state.entries[Hook::RefFreeze as usize] += 1;
        if ret == 0 {
            state.bits |= FREEZE_FAILED;
        }
    }
    Some(())
}
