//! `try_to_unmap_one(folio, vma, address, arg)`: notes the process whose VMA is walked.

use core::mem::MaybeUninit;

use probe_ebpf::{Hook, maps::PHASE_UNMAP};

use crate::{
    flavours::at_entry,
    folio::{self, Head},
    task, victim,
};

at_entry!(k_unmap_one, f_unmap_one, (ctx, vma = 1, address = 2) enter(vma, address));

#[inline(always)]
fn enter(vma: u64, address: u64) -> Option<()> {
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
