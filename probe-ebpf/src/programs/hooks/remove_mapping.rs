//! `__remove_mapping(mapping, folio, reclaimed, target_memcg)`: whether the folio was freed.
//!
//! A kretprobe has no arguments, so a kprobe keeps the folio for it; fexit has both.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use probe_ebpf::{
    Hook,
    maps::PHASE_OPEN,
    verdict::{FREED, REMOVE_FAILED, REMOVING},
};

use crate::task;

#[kprobe]
fn k_remove_enter(ctx: ProbeContext) -> u32 {
    if let Some(folio) = ctx.arg::<u64>(1) {
        let _ = enter(folio);
    }
    0
}

#[kretprobe]
fn k_remove_exit(ctx: RetProbeContext) -> u32 {
    let _ = exit(ctx.ret::<u64>() as i32);
    0
}

#[fexit]
fn f_remove_exit(ctx: FExitContext) -> i32 {
    // The return value follows the four arguments; `bpf_get_func_ret` exists only from 5.17 on.
    let (folio, ret): (u64, u64) = (ctx.arg(1), ctx.arg(4));
    if enter(folio).is_some() {
        let _ = exit(ret as i32);
    }
    0
}

/// Returns `Some` if the call is for the folio whose verdict is open.
#[inline(always)]
fn enter(folio: u64) -> Option<()> {
    let state = task::current()?;
    if state.phase != PHASE_OPEN || state.folio != folio {
        // For a folio that wasn't mapped: the return that follows isn't the open one's either.
        state.bits &= !REMOVING;
        return None;
    }
    state.entries[Hook::RemoveMapping as usize] += 1;
    // Failed, until the return says otherwise.
    state.bits |= REMOVING | REMOVE_FAILED;
    Some(())
}

/// The return doesn't know the folio: the entry has left its mark.
#[inline(always)]
fn exit(ret: i32) -> Option<()> {
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
