//! Ends an unmap: what became of the folio, and its one verdict.

use core::mem::MaybeUninit;

use probe_ebpf::{
    Evidence, Hook, Memory, decide,
    maps::{PHASE_IDLE, PHASE_UNMAP, TaskState},
    verdict::{EXAMINED, FREED, LATE, MAPPED, UNWATCHED, WRITTEN},
};

use crate::{folio::Head, maps::hooked, record::record, unmap::examine};

/// Gives the open unmap of this task its verdict, if there is one.
///
/// `fresh`: the task is still in the shrink call of that unmap, so the folio is isolated or
/// was freed a moment ago, and looking at it again means something.
#[inline(always)]
pub fn close(state: &mut TaskState, fresh: bool) {
    if state.phase == PHASE_IDLE {
        return;
    }
    if state.phase == PHASE_UNMAP && fresh {
        // The return probe didn't run (a kretprobe has only so many instances). The folio is
        // isolated still: its references tell the same now, unless it was mapped again.
        examine(state);
        state.bits |= LATE;
    }
    if state.bits & (EXAMINED | FREED | MAPPED) == EXAMINED {
        follow_up(state, fresh);
    }
    let verdict = decide(Evidence {
        bits: state.bits,
        excess: state.excess,
    });
    state.phase = PHASE_IDLE;
    record(state, verdict);
}

/// Learns from the folio itself what no hook tells.
#[inline(always)]
fn follow_up(state: &mut TaskState, fresh: bool) {
    if !hooked(Hook::ShrinkList) {
        // Decided at the return of the unmap: what comes after it isn't waited for.
        if state.excess <= 0 {
            state.bits |= UNWATCHED;
        }
        return;
    }
    // The lazyfree path freezes the count itself, inside shrink_folio_list.
    let freed_unseen = state.memory == Memory::Lazyfree as u8 || !hooked(Hook::RemoveMapping);
    // Also where its tracepoint was skipped: a look at the folio is only taken at those that
    // would be `kept`, and those are few.
    let written_unseen = state.bits & WRITTEN == 0 && state.excess <= 0;
    if !freed_unseen && !written_unseen {
        return;
    }
    if !fresh {
        if state.excess <= 0 && (freed_unseen || !hooked(Hook::WriteFolio)) {
            state.bits |= UNWATCHED;
        }
        return;
    }
    let mut place = MaybeUninit::uninit();
    if let Some(head) = Head::read(&mut place, state.folio) {
        // Frozen, or handed back: a freed page has no mapping.
        if freed_unseen && (head.refcount() == 0 || head.mapping() != state.mapping) {
            state.bits |= FREED;
        } else if written_unseen && head.writeback() {
            state.bits |= WRITTEN;
        }
    }
}
