//! Reclaim's own brackets: who reclaims, and when a batch ends.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_comm, bpf_get_current_task},
};
use aya_log_ebpf::{debug, warn};
use probe_ebpf::{Hook, Reclaimer, maps::TaskState};

use crate::{
    close::close,
    maps::{fact, hooked},
    read::{pointer, read_or},
    record::flush,
    task,
};

/// At the entry of `shrink_folio_list` with its `scan_control`.
#[inline(always)]
pub fn shrink_enter(ctx: &impl EbpfContext, sc: u64) -> Option<()> {
    let Some(state) = task::claim() else {
        if fact!(probe_log) != 0 {
            warn!(ctx, "no slot is free: a shrink call goes uncounted");
        }
        return None;
    };
    if state.in_shrink != 0 {
        if fact!(probe_log) != 0 {
            warn!(
                ctx,
                "task {}: the return of its last shrink call was missed", state.tid
            );
        }
        // The return of the call before was missed; its last folio is long gone.
        close(state, false);
        flush(state);
    }
    state.entries[Hook::ShrinkList as usize] += 1;
    state.in_shrink = 1;
    state.reclaimer = reclaimer(state, sc) as u8;
    // What is remembered of processes holds for this batch only: an mm may be gone after it.
    state.victim.mm = 0;
    state.subscribers_mm = 0;
    Some(())
}

/// At its return.
#[inline(always)]
pub fn shrink_exit(ctx: &impl EbpfContext) -> Option<()> {
    let state = task::current()?;
    if state.in_shrink == 0 {
        return None;
    }
    state.returns[Hook::ShrinkList as usize] += 1;
    close(state, true);
    if fact!(probe_log) != 0 {
        let unmaps = state.entries[Hook::Unmap as usize];
        debug!(
            ctx,
            "task {}: a shrink call by reclaimer {} unmapped {}",
            state.tid,
            state.reclaimer,
            unmaps
        );
    }
    flush(state);
    state.in_shrink = 0;
    if state.in_reclaim_pages == 0 {
        task::release(state);
    }
    Some(())
}

/// At the entry of `reclaim_pages`.
#[inline(always)]
pub fn reclaim_enter() -> Option<()> {
    let state = task::claim()?;
    state.entries[Hook::ReclaimPages as usize] += 1;
    state.in_reclaim_pages = 1;
    Some(())
}

/// At its return.
#[inline(always)]
pub fn reclaim_exit() -> Option<()> {
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

/// Who reclaims (mm/vmscan.c: where each fills its `scan_control`).
#[inline(always)]
fn reclaimer(state: &TaskState, sc: u64) -> Reclaimer {
    let kthread = pointer(unsafe { bpf_get_current_task() }, fact!(task_mm)) == 0;
    let comm = if kthread {
        bpf_get_current_comm().unwrap_or_default()
    } else {
        [0; 16]
    };
    if comm[..6] == *b"kswapd" {
        return Reclaimer::Kswapd;
    }
    // reclaim_pages leaves nr_to_reclaim at 0. Asked beside the bracket, so that a missed
    // return of reclaim_pages can't colour the task's later reclaim.
    let unbounded = read_or(sc, fact!(sc_nr_to_reclaim), 1u64) == 0;
    if unbounded && !hooked(Hook::ReclaimPages) {
        return Reclaimer::Unknown;
    }
    if unbounded && state.in_reclaim_pages != 0 {
        return if comm[..7] == *b"kdamond" {
            Reclaimer::Damon
        } else {
            Reclaimer::Madvise
        };
    }
    if u32::from(read_or(sc, fact!(sc_proactive), 0u8)) & fact!(sc_proactive_mask) != 0 {
        return Reclaimer::Proactive;
    }
    if pointer(sc, fact!(sc_target_memcg)) != 0 {
        Reclaimer::Memcg
    } else {
        Reclaimer::Direct
    }
}
