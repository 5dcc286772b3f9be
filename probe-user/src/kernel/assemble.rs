//! Builds the parts of a snapshot from what the maps have counted.

use std::collections::BTreeMap;

use probe_ebpf::{
    Memory, Reclaimer, Road,
    maps::{GroupKey, OTHERS},
};

use super::{
    maps::{Counted, Maps, NOBODY, counts},
    names::Names,
};
use crate::snapshot::{ByVerdict, Group, Lost, MapUse, Process, Subscriber};

/// Returns the groups that have unmaps; with their victims where `victims` are known.
///
/// Keys that name the same process become one group.
pub(super) fn groups(
    counted: &Counted,
    names: &mut Names,
    victims: bool,
) -> Vec<(Group, ByVerdict)> {
    let mut merged: BTreeMap<Group, ByVerdict> = BTreeMap::new();
    for (key, value) in &counted.groups {
        let victim = (victims && key.victim != NOBODY)
            .then(|| names.process(&key.victim, counted.victims.get(&key.victim)));
        let group = Group {
            road: Road::Reclaim.into(),
            reclaimer: Reclaimer::from_u8(key.reclaimer).into(),
            memory: Memory::from_u8(key.memory).into(),
            order: key.order,
            victim,
        };
        let into = merged.entry(group).or_default();
        for (to, from) in into.iter_mut().zip(&value.by_verdict) {
            to.add(&counts(from));
        }
    }
    merged.retain(|_, by| by.iter().any(|c| c.folios > 0));
    merged.into_iter().collect()
}

/// Returns the processes that lost mappings to futile unmaps.
pub(super) fn victims(counted: &Counted, names: &mut Names) -> Vec<(Process, Lost)> {
    let mut lost_by: BTreeMap<Process, Lost> = BTreeMap::new();
    for (key, v) in counted.victims.iter().filter(|(_, v)| v.mappings > 0) {
        let lost = lost_by.entry(names.process(key, Some(v))).or_default();
        lost.mappings += v.mappings;
        lost.pages += v.pages;
    }
    lost_by.into_iter().collect()
}

/// Returns how full the maps are. Keys that exist from the start do not count.
pub(super) fn map_use(maps: &Maps<'_>, counted: &Counted, tasks: usize) -> Vec<MapUse> {
    let len = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let own = |g: &&GroupKey| g.victim != OTHERS;
    [
        ("tasks", "CLAIMS", len(tasks)),
        (
            "groups",
            "GROUPS",
            len(counted.groups.keys().filter(own).count()),
        ),
        (
            "victims",
            "VICTIMS",
            len(counted.victims.len().saturating_sub(1)),
        ),
        (
            "subscribers",
            "SUBSCRIBERS",
            len(counted.subscribers.len().saturating_sub(1)),
        ),
    ]
    .into_iter()
    .map(|(map, name, entries)| MapUse {
        map,
        entries,
        max: maps.room(name),
    })
    .collect()
}

/// Returns the MMU notifier subscribers and their calls.
pub(super) fn subscribers(counted: &Counted, names: &Names) -> Vec<Subscriber> {
    counted
        .subscribers
        .iter()
        .filter(|(_, s)| s.calls > 0)
        .map(|(address, s)| Subscriber {
            symbol: names.subscriber(*address),
            calls: s.calls,
            ns: s.ns,
            shared_calls: s.shared_calls,
        })
        .collect()
}
