//! `page_ref_freeze(page, v, ret)`: reclaim tried to freeze the folio's reference count.

use probe_ebpf::{Hook, maps::PHASE_OPEN, verdict::FREEZE_FAILED};

use crate::{flavours::at_tracepoint, task};

at_tracepoint!(ref_freeze, (folio = 0, ret = 2) tried(folio, ret as i32));

#[inline(always)]
fn tried(folio: u64, ret: i32) -> Option<()> {
    let state = task::current()?;
    if state.phase == PHASE_OPEN && state.folio == folio {
        state.entries[Hook::RefFreeze as usize] += 1;
        if ret == 0 {
            state.bits |= FREEZE_FAILED;
        }
    }
    Some(())
}
