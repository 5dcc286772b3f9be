//! `sched_process_exit(task)`: a task ends. What it counted inside reclaim and nobody will count
//! any more, because the return of its shrink call was missed, is counted here, and its slot is
//! given back.

use probe_ebpf::Hook;

use crate::{close::close, flavours::at_tracepoint, record::flush, task};

at_tracepoint!(task_exit, () ended());

#[inline(always)]
fn ended() -> Option<()> {
    let state = task::current()?;
    state.entries[Hook::TaskExit as usize] += 1;
    // The folio of its last unmap is long gone.
    close(state, false);
    flush(state);
    state.in_shrink = 0;
    state.in_reclaim_pages = 0;
    task::release(state);
    Some(())
}
