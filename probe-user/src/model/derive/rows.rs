//! The groups of a window: the difference of two snapshots, group by group.

use std::collections::{BTreeMap, BTreeSet};

use probe_ebpf::{Hook, Memory, Reclaimer, Road, Verdict};

use crate::{
    model::{
        capture::{ByVerdict, Tally, Who},
        measured::Measured,
    },
    snapshot::{self, Counts, NewerVerdicts, Snapshot},
    words::Word,
};

/// The identity of a process in two snapshots: its cgroup's path may change, the id does not.
type ProcessKey<'a> = (u32, &'a str, u64);

type GroupKey<'a> = (
    &'a Word<Road>,
    &'a Word<Reclaimer>,
    &'a Word<Memory>,
    u8,
    Option<ProcessKey<'a>>,
);

pub(super) fn process_key(p: &snapshot::Process) -> ProcessKey<'_> {
    (p.pid, &p.comm, p.cgroup_id)
}

fn group_key(g: &snapshot::Group) -> GroupKey<'_> {
    let victim = g.victim.as_ref().map(process_key);
    (&g.road, &g.reclaimer, &g.memory, g.order, victim)
}

/// A group of the window, and its counts.
#[derive(Clone, Debug)]
pub(crate) struct GroupRow {
    pub(crate) name: GroupName,
    pub(crate) counts: snapshot::ByVerdict,
    /// Counts under verdicts that this version does not know.
    pub(crate) newer: NewerVerdicts,
}

fn is_others(g: &snapshot::Group) -> bool {
    g.victim.as_ref().is_some_and(snapshot::Process::is_others)
}

/// What groups of the same kind share, whoever the victim is.
type Kind<'a> = (&'a Word<Road>, &'a Word<Reclaimer>, &'a Word<Memory>, u8);

fn others_key(g: &snapshot::Group) -> Kind<'_> {
    (&g.road, &g.reclaimer, &g.memory, g.order)
}

/// What the groups had counted before the window that are no longer there: these counts moved to
/// the group of the others, where they are no increase.
fn moved<'a>(
    first: Option<&'a Snapshot>,
    last: &'a Snapshot,
) -> BTreeMap<Kind<'a>, snapshot::ByVerdict> {
    let mut moved: BTreeMap<_, snapshot::ByVerdict> = BTreeMap::new();
    let Some(first) = first else {
        return moved;
    };
    let there: BTreeSet<_> = last.groups.iter().map(|(g, _)| group_key(g)).collect();
    for (g, counts) in &first.groups {
        if g.victim.is_some() && !there.contains(&group_key(g)) {
            let to = moved.entry(others_key(g)).or_default();
            for (to, from) in to.iter_mut().zip(counts) {
                add(to, from);
            }
        }
    }
    moved
}

fn without(counts: &snapshot::ByVerdict, moved: &snapshot::ByVerdict) -> snapshot::ByVerdict {
    let mut left = *counts;
    for (left, moved) in left.iter_mut().zip(moved) {
        *left = left.since(moved);
    }
    left
}

/// The name of a group, as far as the hooks show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupName {
    pub(crate) road: Word<Road>,
    pub(crate) reclaimer: Word<Reclaimer>,
    pub(crate) memory: Word<Memory>,
    pub(crate) order: u8,
    pub(crate) victim: Option<Who>,
}

/// The groups of the window: the difference, where unknown replaces what the hooks cannot show.
pub(crate) fn rows(measured: Measured, first: Option<&Snapshot>, last: &Snapshot) -> Vec<GroupRow> {
    let before: BTreeMap<_, _> = first
        .iter()
        .flat_map(|s| &s.groups)
        .map(|(g, counts)| (group_key(g), counts))
        .collect();
    let moved = moved(first, last);
    let mut rows: BTreeMap<_, (snapshot::ByVerdict, NewerVerdicts)> = BTreeMap::new();
    for (g, counts) in &last.groups {
        let earlier = before.get(&group_key(g)).copied();
        let counts = &match moved.get(&others_key(g)).filter(|_| is_others(g)) {
            Some(moved) => without(counts, moved),
            None => *counts,
        };
        let (row, _) = rows.entry(GroupName::new(measured, g)).or_default();
        for verdict in Verdict::ALL {
            let i = verdict as usize;
            let now = earlier.map_or(counts[i], |e| counts[i].since(&e[i]));
            add(&mut row[measured.attribute(verdict) as usize], &now);
        }
    }
    let before: BTreeMap<_, _> = first
        .iter()
        .flat_map(|s| &s.newer)
        .map(|(g, counts)| (group_key(g), counts))
        .collect();
    for (g, counts) in &last.newer {
        let earlier = before.get(&group_key(g));
        let (_, row) = rows.entry(GroupName::new(measured, g)).or_default();
        for (word, now) in counts {
            let then = earlier.and_then(|e| e.get(word)).copied();
            let to = row.entry(word.clone()).or_default();
            add(to, &now.since(&then.unwrap_or_default()));
        }
    }
    rows.into_iter()
        .map(|(name, (counts, newer))| GroupRow {
            name,
            counts,
            newer,
        })
        .filter(|row| row.all().any(|c| c.folios > 0))
        .collect()
}

impl GroupName {
    fn new(measured: Measured, g: &snapshot::Group) -> Self {
        let victim = g.victim.as_ref();
        Self {
            road: g.road.clone(),
            reclaimer: match g.reclaimer.known() {
                Some(said) => measured.reclaimer(said).into(),
                None => g.reclaimer.clone(),
            },
            memory: g.memory.clone(),
            order: g.order,
            victim: victim
                .filter(|_| measured.by(Hook::UnmapOne))
                .map(Who::from),
        }
    }
}

impl GroupRow {
    /// The counts of all verdicts.
    pub(super) fn all(&self) -> impl Iterator<Item = &Counts> {
        self.counts.iter().chain(self.newer.values())
    }

    fn is_reclaim(&self) -> bool {
        self.name.road == Road::Reclaim
    }
}

/// [`Counts::add`] that saturates, whatever a file says.
pub(super) fn add(to: &mut Counts, from: &Counts) {
    to.folios = to.folios.saturating_add(from.folios);
    to.pages = to.pages.saturating_add(from.pages);
    to.notifier_calls = to.notifier_calls.saturating_add(from.notifier_calls);
    to.notifier_ns = to.notifier_ns.saturating_add(from.notifier_ns);
    to.unmap_ns = to.unmap_ns.saturating_add(from.unmap_ns);
}

/// All rows of reclaim with one verdict.
pub(crate) fn total(rows: &[GroupRow], verdict: Verdict) -> Counts {
    let mut sum = Counts::default();
    for row in rows.iter().filter(|row| row.is_reclaim()) {
        add(&mut sum, &row.counts[verdict as usize]);
    }
    sum
}

/// All rows of reclaim under verdicts of a newer version.
pub(super) fn newer(rows: &[GroupRow]) -> NewerVerdicts {
    let mut sums = NewerVerdicts::new();
    for row in rows.iter().filter(|row| row.is_reclaim()) {
        for (word, counts) in &row.newer {
            add(sums.entry(word.clone()).or_default(), counts);
        }
    }
    sums
}

/// The verdicts of a row that occur.
pub(super) fn tallies(row: &GroupRow) -> ByVerdict<Tally> {
    let known = Verdict::ALL
        .into_iter()
        .map(|v| (v.into(), &row.counts[v as usize]));
    let newer = row.newer.iter().map(|(w, c)| (Word::Newer(w.clone()), c));
    let mut tallies = ByVerdict::default();
    for (verdict, c) in known.chain(newer).filter(|(_, c)| c.folios > 0) {
        let (folios, pages) = (c.folios, c.pages);
        tallies.set::<Word<Verdict>>(verdict, Tally { folios, pages });
    }
    tallies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Group, HookState, HookStatus, Process};

    fn group(victim: Process, folios: u64) -> (Group, snapshot::ByVerdict) {
        let mut counts = snapshot::ByVerdict::default();
        counts[Verdict::FutilePinned as usize].folios = folios;
        let group = Group {
            road: Road::Reclaim.into(),
            reclaimer: Reclaimer::Direct.into(),
            memory: Memory::Anon.into(),
            order: 0,
            victim: Some(victim),
        };
        (group, counts)
    }

    fn sample(groups: Vec<(Group, snapshot::ByVerdict)>) -> Snapshot {
        let hooks = Hook::ALL.map(|hook| HookStatus {
            name: hook.name().to_owned(),
            symbol: String::new(),
            attach: None,
            state: HookState::Active,
            reason: None,
            hits: None,
            missed: None,
        });
        Snapshot {
            elapsed: 0.0,
            groups,
            newer: Vec::new(),
            victims: None,
            subscribers: None,
            unmap_ns: BTreeMap::new(),
            unmap_ns_by_reclaimer: BTreeMap::new(),
            notifier_ns: None,
            excess: snapshot::Histogram::default(),
            per_folio: snapshot::Histogram::default(),
            hooks: hooks.into(),
            lost: snapshot::LostCounts::default(),
            maps: Vec::new(),
            in_flight: 0,
            cost: snapshot::SelfCost::default(),
        }
    }

    /// A process had 5 folios, then 7, and is gone: its 7 are with the others. Another one had 3
    /// and has 4. The window saw 3.
    #[test]
    fn counts_that_moved_to_the_others_are_no_increase() {
        let process = |pid| Process {
            pid,
            comm: "a".to_owned(),
            cgroup: None,
            cgroup_id: 0,
        };
        let first = sample(vec![
            group(process(1), 5),
            group(process(2), 3),
            group(Process::others(), 10),
        ]);
        let last = sample(vec![group(process(2), 4), group(Process::others(), 17)]);
        let measured = Measured::new(&last.hooks);
        let rows = rows(measured, Some(&first), &last);
        assert_eq!(total(&rows, Verdict::FutilePinned).folios, 3);
    }
}
