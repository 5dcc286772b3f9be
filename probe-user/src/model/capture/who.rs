//! Processes, as far as they are known.

use serde::{Deserialize, Serialize};

use crate::snapshot::Process;

/// A process, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Who {
    /// Its pid.
    pub pid: Option<u32>,
    /// Its comm.
    pub comm: Option<String>,
    /// Its cgroup.
    pub cgroup: Option<String>,
}

impl From<&Process> for Who {
    fn from(p: &Process) -> Self {
        Self {
            pid: (p.pid != 0).then_some(p.pid),
            comm: (!p.comm.is_empty()).then(|| p.comm.clone()),
            cgroup: p.cgroup.clone(),
        }
    }
}
