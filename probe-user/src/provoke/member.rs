//! A process with memory to hold, in a cgroup of its own.

use super::cgroup::Cgroup;
use super::child::{ChildReport, Launcher, Order, Role, Worker};
use super::error::Result;

/// A child process in its own cgroup. Fields are dropped in order, so the process ends before its
/// cgroup is removed.
pub(super) struct Member {
    pub(super) worker: Worker,
    pub(super) cgroup: Cgroup,
}

impl Member {
    /// Makes the cgroup, starts a child in it, and has the child make its memory.
    pub(super) fn start(
        launcher: &Launcher,
        role: &Role,
        cgroup: &str,
    ) -> Result<(Self, ChildReport)> {
        let cgroup = Cgroup::with_memory(cgroup)?;
        let mut worker = Worker::start(launcher, role)?;
        cgroup.add(worker.pid())?;
        let report = worker.obey(Order::Start)?;
        Ok((Self { worker, cgroup }, report))
    }
}
