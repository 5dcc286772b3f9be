//! Gives back the keys of processes and cgroups that are gone, so that the maps never fill up.
//! Their counts move here, and every snapshot adds them again.
//!
//! A key may go only if no program can count under it any more. Nothing unmaps memory of an mm
//! or a cgroup that is gone, so what is left are tasks that had begun before and have not counted
//! yet: their states show the key. A key therefore goes if its owner was gone at the last tick
//! and no state had it, neither then nor now.

use std::collections::{BTreeMap, BTreeSet};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use probe_ebpf::{
    Verdict, VictimsBy,
    maps::{GroupCounts, GroupKey, OTHERS, PHASE_IDLE, TaskState, Victim, VictimKey},
};

use super::{
    cgroups::Existence,
    host,
    maps::{Counted, MapsMut, NOBODY, ReadError},
    names::Names,
};

/// The number of groups of processes that are gone which keep their process, at most; the
/// cheaper half of more than that counts under [`OTHERS`].
const KEPT: usize = 8192;

/// What was counted under keys that have been given back.
pub(super) struct Harvest {
    victims_by: VictimsBy,
    /// Whether this process sees the pids that the kernel side counts by.
    sees_pids: bool,
    /// Keys whose owner was gone at the last tick and that no task used.
    suspects: BTreeSet<VictimKey>,
    groups: BTreeMap<GroupKey, GroupCounts>,
    victims: BTreeMap<VictimKey, Victim>,
}

impl Harvest {
    pub(super) fn new(victims_by: VictimsBy) -> Self {
        Self {
            victims_by,
            sees_pids: host::in_first_pid_namespace(),
            suspects: BTreeSet::new(),
            groups: BTreeMap::new(),
            victims: BTreeMap::new(),
        }
    }

    /// Moves the counts of keys whose owners are gone.
    ///
    /// # Errors
    /// When a map can't be read. Nothing is lost: a key goes after its count was kept.
    pub(super) fn tick(
        &mut self,
        maps: &mut MapsMut<'_>,
        names: &mut Names,
    ) -> Result<(), ReadError> {
        let groups: Vec<GroupKey> = maps.read().group_keys()?;
        let victims: Vec<VictimKey> = maps.read().victim_keys()?;
        let room = usize::try_from(maps.read().room("VICTIMS")).unwrap_or(0);
        if !self.due(groups.len().max(victims.len()), room) {
            self.suspects.clear();
            return Ok(());
        }
        let mut gone: BTreeSet<VictimKey> = groups
            .iter()
            .map(|g| g.victim)
            .chain(victims.iter().copied())
            .filter(|key| *key != OTHERS && *key != NOBODY)
            .collect();
        gone.retain(|key| self.existence(key, names) == Existence::Gone);
        if !gone.is_empty() {
            for slot in maps.read().claimed()? {
                let state = maps.read().task(slot)?;
                for key in used(&state, self.victims_by) {
                    gone.remove(&key);
                }
            }
        }
        let going: BTreeSet<VictimKey> = gone.intersection(&self.suspects).copied().collect();
        for key in groups.iter().filter(|g| going.contains(&g.victim)) {
            self.take_group(maps, key)?;
        }
        for key in victims.iter().filter(|v| going.contains(v)) {
            self.take_victim(maps, key)?;
        }
        if self.victims_by == VictimsBy::Cgroup {
            for key in &going {
                names.forget_cgroup(maps, key.cgroup());
            }
        }
        self.suspects = gone.difference(&going).copied().collect();
        self.limit();
        Ok(())
    }

    /// Whether keys must go now, of which a map has `room` for a number. Below an eighth of it, a
    /// process is left where it is: whatever is in the maps needs no memory here.
    fn due(&self, entries: usize, room: usize) -> bool {
        match self.victims_by {
            VictimsBy::Process => self.sees_pids && entries > room / 8,
            VictimsBy::Cgroup => true,
            VictimsBy::Nothing => false,
        }
    }

    fn existence(&self, key: &VictimKey, names: &Names) -> Existence {
        match self.victims_by {
            VictimsBy::Process => process(key.tgid),
            VictimsBy::Cgroup => names.cgroup_exists(key.cgroup()),
            VictimsBy::Nothing => Existence::Unknown,
        }
    }

    /// The victim that counts of `key` are kept by from now on.
    fn kept_by(&self, key: VictimKey) -> VictimKey {
        match self.victims_by {
            VictimsBy::Process => key,
            VictimsBy::Cgroup | VictimsBy::Nothing => OTHERS,
        }
    }

    fn take_group(&mut self, maps: &mut MapsMut<'_>, key: &GroupKey) -> Result<(), ReadError> {
        if let Some(counts) = maps.take_group(key)? {
            let victim = self.kept_by(key.victim);
            add_group(
                self.groups.entry(GroupKey { victim, ..*key }).or_default(),
                &counts,
            );
        }
        Ok(())
    }

    fn take_victim(&mut self, maps: &mut MapsMut<'_>, key: &VictimKey) -> Result<(), ReadError> {
        if let Some(victim) = maps.take_victim(key)? {
            let kept = self.kept_by(*key);
            add_victim(&mut self.victims, kept, &victim);
        }
        Ok(())
    }

    /// Keeps memory bounded.
    fn limit(&mut self) {
        if self.groups.len() <= KEPT {
            return;
        }
        let cost = |g: &GroupCounts| {
            let futile = Verdict::ALL.into_iter().filter(|v| v.is_futile());
            futile
                .map(|v| g.by_verdict[v as usize].pages)
                .fold(0, u64::saturating_add)
        };
        let mut order: Vec<(u64, GroupKey)> =
            self.groups.iter().map(|(k, g)| (cost(g), *k)).collect();
        order.sort_unstable();
        for (_, key) in order.iter().take(KEPT / 2) {
            if let Some(counts) = self.groups.remove(key) {
                let victim = OTHERS;
                add_group(
                    self.groups.entry(GroupKey { victim, ..*key }).or_default(),
                    &counts,
                );
            }
        }
        let kept: BTreeSet<VictimKey> = self.groups.keys().map(|g| g.victim).collect();
        let all = std::mem::take(&mut self.victims);
        for (key, victim) in all {
            let key = if kept.contains(&key) { key } else { OTHERS };
            add_victim(&mut self.victims, key, &victim);
        }
    }

    /// Returns the cgroups of the processes that are kept.
    pub(super) fn cgroups(&self) -> impl Iterator<Item = u64> {
        self.victims.values().map(|v| v.cgroup)
    }

    /// Adds what was harvested to what the maps have now.
    pub(super) fn add_to(&self, counted: &mut Counted) {
        for (key, counts) in &self.groups {
            add_group(counted.groups.entry(*key).or_default(), counts);
        }
        for (key, victim) in &self.victims {
            add_victim(&mut counted.victims, *key, victim);
        }
    }
}

fn add_group(to: &mut GroupCounts, from: &GroupCounts) {
    for (to, from) in to.by_verdict.iter_mut().zip(&from.by_verdict) {
        to.folios += from.folios;
        to.pages += from.pages;
        to.notifier_calls += from.notifier_calls;
        to.notifier_ns += from.notifier_ns;
        to.unmap_ns += from.unmap_ns;
    }
}

fn add_victim(all: &mut BTreeMap<VictimKey, Victim>, key: VictimKey, from: &Victim) {
    let to = all.entry(key).or_insert(Victim {
        mappings: 0,
        pages: 0,
        cgroup: if key == OTHERS { 0 } else { from.cgroup },
        comm: if key == OTHERS { [0; 16] } else { from.comm },
    });
    to.mappings += from.mappings;
    to.pages += from.pages;
}

/// The keys under which a task may still count.
fn used(state: &TaskState, by: VictimsBy) -> Vec<VictimKey> {
    let mut keys = Vec::new();
    if state.in_shrink != 0 && state.victim.mm != 0 {
        // Its batch may reach more of this mm.
        keys.push(super::maps::kept_by(by, state.victim));
    }
    if state.pending.iter().any(|p| p.folios > 0) || state.victim_mappings > 0 {
        keys.push(state.pending_key.victim);
    }
    if state.phase != PHASE_IDLE {
        let walked = usize::try_from(state.walked).unwrap_or(usize::MAX);
        let mappings = state.mappings.iter().take(walked);
        keys.extend(mappings.map(|m| super::maps::kept_by(by, m.victim)));
    }
    keys
}

/// Whether the process of this pid exists; 0: not known.
fn process(tgid: u32) -> Existence {
    let Some(pid) = i32::try_from(tgid).ok().filter(|pid| *pid > 0) else {
        return Existence::Unknown;
    };
    match kill(Pid::from_raw(pid), None) {
        Err(Errno::ESRCH) => Existence::Gone,
        // Whether it may be signalled does not matter.
        Ok(()) | Err(Errno::EPERM) => Existence::There,
        Err(_) => Existence::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use probe_ebpf::maps::{Mapping, PHASE_OPEN};
    use zerocopy::FromZeros;

    use super::*;

    fn key(tgid: u32) -> GroupKey {
        GroupKey {
            victim: VictimKey {
                mm: u64::from(tgid) << 8,
                tgid,
                pad: 0,
            },
            reclaimer: 1,
            memory: 1,
            order: 0,
            pad: [0; 5],
        }
    }

    fn counts(folios: u64) -> GroupCounts {
        let mut counts = GroupCounts::default();
        let futile = &mut counts.by_verdict[Verdict::FutilePinned as usize];
        (futile.folios, futile.pages) = (folios, folios);
        counts
    }

    #[test]
    fn memory_is_bounded_and_no_count_lost() {
        let mut harvest = Harvest::new(VictimsBy::Process);
        let mut total = 0;
        for n in 1..=30_000u32 {
            total += u64::from(n);
            let key = key(n);
            harvest.groups.insert(key, counts(u64::from(n)));
            let mut victim = Victim::new_zeroed();
            victim.mappings = 1;
            add_victim(&mut harvest.victims, key.victim, &victim);
            harvest.limit();
            assert!(harvest.groups.len() <= KEPT + 1);
        }
        let sum = |v: Verdict| -> u64 {
            let groups = harvest.groups.values();
            groups.map(|g| g.by_verdict[v as usize].folios).sum()
        };
        assert_eq!(sum(Verdict::FutilePinned), total);
        let mappings: u64 = harvest.victims.values().map(|v| v.mappings).sum();
        assert_eq!(mappings, 30_000);
        assert!(harvest.victims.len() <= KEPT + 1);
        // The costliest keep their process.
        assert!(harvest.groups.contains_key(&key(30_000)));
        assert!(!harvest.groups.contains_key(&key(1)));
    }

    #[test]
    fn a_task_uses_what_it_has_not_counted_yet() {
        let mut state = TaskState::new_zeroed();
        state.pending_key = key(5);
        assert!(used(&state, VictimsBy::Process).is_empty());
        state.pending[0].folios = 1;
        assert_eq!(used(&state, VictimsBy::Process), [key(5).victim]);
        state.pending[0].folios = 0;
        state.phase = PHASE_OPEN;
        state.walked = 1;
        state.mappings[0] = Mapping {
            victim: key(6).victim,
            pages: 1,
        };
        assert_eq!(used(&state, VictimsBy::Process), [key(6).victim]);
        let by_cgroup = VictimKey {
            mm: 0,
            ..key(6).victim
        };
        assert_eq!(used(&state, VictimsBy::Cgroup), [by_cgroup]);
    }

    #[test]
    fn this_process_exists() {
        assert_eq!(process(std::process::id()), Existence::There);
        assert_eq!(process(0), Existence::Unknown);
        assert_eq!(process(i32::MAX as u32), Existence::Gone);
    }
}
