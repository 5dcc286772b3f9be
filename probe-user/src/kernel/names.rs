//! The names of victims and subscribers, learned while the kernel can still supply them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
};

use probe_ebpf::{
    VictimsBy,
    maps::{INTERVAL_NOTIFIERS, NO_SUBSCRIBER, Victim, VictimKey},
};

use super::{
    cgroups::Cgroups,
    maps::{Maps, ReadError, text},
    symbols,
};
use crate::snapshot::Process;

/// Names learned so far.
pub(super) struct Names {
    victims_by: VictimsBy,
    cgroups: Cgroups,
    /// Opened while the kernel still shows addresses; see [`symbols::names`].
    kallsyms: Option<File>,
    subscribers: BTreeMap<u64, String>,
}

impl Names {
    /// Learns the cgroups that exist now, and opens the kernel's symbols.
    pub(super) fn new(victims_by: VictimsBy) -> Self {
        let mut cgroups = Cgroups::new();
        cgroups.walk();
        Self {
            victims_by,
            cgroups,
            kallsyms: File::open(symbols::KALLSYMS).ok(),
            subscribers: BTreeMap::new(),
        }
    }

    /// Learns the names of victims' cgroups and of subscribers: a cgroup may be gone before the
    /// capture ends.
    pub(super) fn learn(&mut self, maps: &Maps<'_>) -> Result<(), ReadError> {
        let victims = maps.victims()?;
        self.cgroups.learn(victims.values().map(|v| v.cgroup));
        self.learn_subscribers(maps);
        Ok(())
    }

    /// Learns the names of the subscribers counted so far.
    pub(super) fn learn_subscribers(&mut self, maps: &Maps<'_>) {
        let Ok(subscribers) = maps.subscribers() else {
            return;
        };
        let new: BTreeSet<u64> = subscribers
            .keys()
            .filter(|a| **a > NO_SUBSCRIBER && !self.subscribers.contains_key(a))
            .copied()
            .collect();
        if new.is_empty() {
            return;
        }
        let mut found = match &mut self.kallsyms {
            Some(file) => symbols::names(file, &new).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        for address in new {
            // Never the address, which would reveal where the kernel is loaded.
            let name = found
                .remove(&address)
                .unwrap_or_else(|| format!("unnamed callback {}", self.subscribers.len() + 1));
            self.subscribers.insert(address, name);
        }
    }

    /// Returns the name of the subscriber whose callback is at `address`.
    pub(super) fn subscriber(&self, address: u64) -> String {
        match address {
            INTERVAL_NOTIFIERS => "interval notifiers".into(),
            NO_SUBSCRIBER => "none found".into(),
            _ => self
                .subscribers
                .get(&address)
                .cloned()
                .unwrap_or_else(|| "unnamed callback".into()),
        }
    }

    /// Describes the process of a key. `victim`: what the kernel side has kept of it, if it fit.
    pub(super) fn process(&mut self, key: &VictimKey, victim: Option<&Victim>) -> Process {
        let pid = match self.victims_by {
            VictimsBy::Process => key.tgid,
            VictimsBy::Cgroup | VictimsBy::Nothing => 0,
        };
        match victim {
            Some(v) => Process {
                pid,
                comm: text(&v.comm),
                cgroup: self.cgroups.name(v.cgroup),
                cgroup_id: v.cgroup,
            },
            None => Process {
                pid,
                comm: String::new(),
                cgroup: None,
                cgroup_id: 0,
            },
        }
    }

    /// Whether the cgroup of this name no longer exists.
    pub(super) fn cgroup_is_gone(&self, name: &str) -> bool {
        self.cgroups.is_gone(name)
    }
}
