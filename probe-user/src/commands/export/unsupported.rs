//! An exporter on a host where nothing can be measured (`--on-unsupported=serve`): it serves its own
//! metrics, and says why.

use probe_ebpf::Hook;

use super::reader::Counters;
use crate::snapshot::{Event, HookState, HookStatus, Snapshot};

/// Counters that count nothing.
pub(super) struct Unsupported {
    hooks: Vec<HookStatus>,
}

impl Unsupported {
    /// No hook is supported, for this reason.
    pub(super) fn new(reason: &str) -> Self {
        let hooks = Hook::ALL.map(|hook| HookStatus {
            name: hook.name().to_owned(),
            symbol: hook.entry().symbols[0].to_owned(),
            attach: None,
            state: HookState::Unsupported,
            reason: Some(reason.to_owned()),
            hits: None,
            missed: None,
        });
        Self {
            hooks: hooks.into(),
        }
    }
}

impl Counters for Unsupported {
    fn snapshot(&mut self) -> Result<Snapshot, String> {
        Ok(Snapshot {
            hooks: self.hooks.clone(),
            ..Snapshot::default()
        })
    }

    fn events(&mut self, _most: usize) -> Vec<Event> {
        Vec::new()
    }

    fn kernel(&self) -> String {
        crate::kernel::host::host().kernel
    }
}
