//! `mm_vmscan_write_folio(folio)`, on 5.10 `mm_vmscan_writepage(page)`: `pageout` handed the
//! folio to its file system or to swap.

use probe_ebpf::{Hook, maps::PHASE_OPEN, verdict::WRITTEN};

use crate::{flavours::at_tracepoint, task};

at_tracepoint!(write_folio, (folio = 0) written(folio));

#[inline(always)]
fn written(folio: u64) -> Option<()> {
    let state = task::current()?;
    if state.phase == PHASE_OPEN && state.folio == folio {
        state.entries[Hook::WriteFolio as usize] += 1;
        state.bits |= WRITTEN;
    }
    Some(())
}
