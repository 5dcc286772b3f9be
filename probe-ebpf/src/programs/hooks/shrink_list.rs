//! `shrink_folio_list(list, pgdat, sc, stat, …)`, on 5.10 `shrink_page_list` with the same
//! arguments: brackets a batch of reclaim and notes who is reclaiming.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_comm, bpf_get_current_task},
};
use aya_log_ebpf::{debug, warn};
use probe_ebpf::{Hook, Reclaimer, maps::TaskState};

use crate::{
    close::close,
    flavours::{at_entry, at_return},
    maps::{hooked, layout},
    read::{pointer, read_or},
    record::flush,
    task,
};

at_entry!(k_shrink_enter, f_shrink_enter, (ctx, sc = 2) enter(&ctx, sc));
at_return!(k_shrink_exit, f_shrink_exit, (ctx) exit(&ctx));

#[inline(always)]
fn enter(ctx: &impl EbpfContext, sc: u64) -> Option<()> {
    let Some(state) = task::claim() else {
        if layout!(probe_log) != 0 {
            warn!(ctx, "no slot is free: a shrink call is not counted");
        }
        return None;
    };
    if state.in_shrink != 0 {
        if layout!(probe_log) != 0 {
            warn!(
                ctx,
                "task {}: the return of its last shrink call was missed", state.tid
            );
        }
        // The return of the previous call was missed, and its last folio is long gone.
        close(state, false);
        flush(state);
    }
    state.entries[Hook::ShrinkList as usize] += 1;
    state.in_shrink = 1;
    state.reclaimer = reclaimer(state, sc) as u8;
    // Processes are remembered for one batch only: an mm may be gone after it.
    state.victim.mm = 0;
    state.subscribers_mm = 0;
    Some(())
}

#[inline(always)]
fn exit(ctx: &impl EbpfContext) -> Option<()> {
    let state = task::current()?;
    if state.in_shrink == 0 {
        return None;
    }
    state.returns[Hook::ShrinkList as usize] += 1;
    close(state, true);
    if layout!(probe_log) != 0 {
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

/// Returns who is reclaiming (mm/vmscan.c: where each fills its `scan_control`).
#[inline(always)]
fn reclaimer(state: &TaskState, sc: u64) -> Reclaimer {
    let kthread = pointer(unsafe { bpf_get_current_task() }, layout!(task_mm)) == 0;
    let comm = if kthread {
        bpf_get_current_comm().unwrap_or_default()
    } else {
        [0; 16]
    };
    if comm[..6] == *b"kswapd" {
        return Reclaimer::Kswapd;
    }
    // reclaim_pages leaves nr_to_reclaim at 0. Checked in addition to the bracket, so that a
    // missed return of reclaim_pages can't mislabel the task's later reclaim.
    let unbounded = read_or(sc, layout!(sc_nr_to_reclaim), 1u64) == 0;
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
    if u32::from(read_or(sc, layout!(sc_proactive), 0u8)) & layout!(sc_proactive_mask) != 0 {
        return Reclaimer::Proactive;
    }
    if pointer(sc, layout!(sc_target_memcg)) != 0 {
        Reclaimer::Memcg
    } else {
        Reclaimer::Direct
    }
}
