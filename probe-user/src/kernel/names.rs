//! The names of victims and subscribers, learned while the kernel can still supply them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
};

use aya::maps::{MapData, RingBuf};
use probe_ebpf::{
    VictimsBy,
    maps::{
        CgroupName, INTERVAL_NOTIFIERS, NO_SUBSCRIBER, OTHER_SUBSCRIBERS, OTHERS, Victim, VictimKey,
    },
};
use zerocopy::FromBytes;

use super::{
    cgroups::{Cgroups, Existence, MAX_NAMES},
    maps::{Maps, MapsMut, text},
    symbols,
};
use crate::snapshot::Process;

/// Names learned so far.
pub(super) struct Names {
    victims_by: VictimsBy,
    cgroups: Cgroups,
    ring: Option<RingBuf<MapData>>,
    /// Opened while the kernel still shows addresses; see [`symbols::names`].
    kallsyms: Option<File>,
    subscribers: BTreeMap<u64, String>,
}

impl Names {
    /// Opens the kernel's symbols. `ring`: where the kernel side sends the names of cgroups.
    pub(super) fn new(
        victims_by: VictimsBy,
        cgroups: Cgroups,
        ring: Option<RingBuf<MapData>>,
    ) -> Self {
        Self {
            victims_by,
            cgroups,
            ring,
            kallsyms: File::open(symbols::KALLSYMS).ok(),
            subscribers: BTreeMap::new(),
        }
    }

    /// Learns the names of cgroups and of subscribers: a module may be gone before the capture
    /// ends.
    pub(super) fn tick(&mut self, maps: &Maps<'_>) {
        self.learn_cgroups();
        self.cgroups.tick();
        self.learn_subscribers(maps);
    }

    /// Takes the names of cgroups that the kernel side has sent.
    pub(super) fn learn_cgroups(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        while let Some(item) = ring.next() {
            if let Ok(sent) = CgroupName::ref_from_bytes(&item) {
                self.cgroups.learn(sent);
            }
        }
    }

    /// Finds the names of these cgroups that are still missing, and waits for them.
    pub(super) fn settle(&mut self, ids: impl Iterator<Item = u64>) {
        for id in ids {
            self.cgroups.name(id);
        }
        self.cgroups.settle();
    }

    /// Whether a cgroup exists.
    pub(super) fn cgroup_exists(&self, id: u64) -> Existence {
        self.cgroups.existence(id)
    }

    /// Forgets a cgroup that is gone.
    pub(super) fn forget_cgroup(&mut self, maps: &mut MapsMut<'_>, id: u64) {
        self.cgroups.forget(id);
        maps.forget_name(id);
    }

    /// Whether more cgroups are known than is useful.
    pub(super) fn too_many(&self) -> bool {
        self.cgroups.len() > MAX_NAMES
    }

    /// Forgets all cgroups but these.
    pub(super) fn keep_only(&mut self, used: &BTreeSet<u64>, maps: &mut MapsMut<'_>) {
        for id in self.cgroups.known() {
            if !used.contains(&id) {
                self.forget_cgroup(maps, id);
            }
        }
    }

    /// Learns the names of the subscribers counted so far.
    pub(super) fn learn_subscribers(&mut self, maps: &Maps<'_>) {
        let Ok(subscribers) = maps.subscribers() else {
            return;
        };
        let new: BTreeSet<u64> = subscribers
            .keys()
            .filter(|a| **a > OTHER_SUBSCRIBERS && !self.subscribers.contains_key(a))
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
            OTHER_SUBSCRIBERS => "other".into(),
            _ => self
                .subscribers
                .get(&address)
                .cloned()
                .unwrap_or_else(|| "unnamed callback".into()),
        }
    }

    /// Describes the process of a key. `victim`: what the kernel side has kept of it, if it fit.
    pub(super) fn process(&mut self, key: &VictimKey, victim: Option<&Victim>) -> Process {
        if *key == OTHERS {
            return Process::others();
        }
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
            // It found `VICTIMS` full. By cgroup, the key alone says which one it is.
            None => {
                let cgroup_id = match self.victims_by {
                    VictimsBy::Cgroup => key.cgroup(),
                    VictimsBy::Process | VictimsBy::Nothing => 0,
                };
                Process {
                    pid,
                    comm: String::new(),
                    cgroup: self.cgroups.name(cgroup_id),
                    cgroup_id,
                }
            }
        }
    }
}
