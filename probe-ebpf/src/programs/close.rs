//! Ends an unmap: learns what became of the folio and gives its one verdict.

use core::mem::MaybeUninit;

use probe_ebpf::{
    Evidence, Hook, Memory, decide,
    maps::{PHASE_IDLE, PHASE_UNMAP, TaskState},
    verdict::{EXAMINED, FREED, LATE, MAPPED, UNWATCHED, WRITTEN},
};

use crate::{examine::examine, folio::Head, maps::hooked, record::record};

/// Gives the open unmap of this task its verdict, if there is one.
///
/// `fresh`: the task is still in the shrink call of that unmap, so the folio is isolated or
/// was freed a moment ago, and reading it again is meaningful.
#[inline(always)]
pub fn close(state: &mut TaskState, fresh: bool) {
    if state.phase == PHASE_IDLE {
        return;
    }
    if state.phase == PHASE_UNMAP && fresh {
        // The return probe didn't run: the number of a kretprobe's instances is limited. The folio is
        // still isolated, so its references are what they were, unless it was mapped again.
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

/// Learns from the folio itself what no hook reports.
#[inline(always)]
fn follow_up(state: &mut TaskState, fresh: bool) {
    if !hooked(Hook::ShrinkList) {
        // The verdict falls at the return of the unmap: nothing waits for what comes after.
        if state.excess <= 0 {
            state.bits |= UNWATCHED;
        }
        return;
    }
    // The lazyfree path freezes the count itself, inside shrink_folio_list.
    let freed_unseen = state.memory == Memory::Lazyfree as u8 || !hooked(Hook::RemoveMapping);
    // Read even where the tracepoint is hooked, as its program may have been skipped: only
    // folios that would be `kept` are read, and those are few.
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
