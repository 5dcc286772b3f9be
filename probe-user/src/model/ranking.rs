//! The costliest cgroups, in bounded number, so that metrics can have a label for each.
//!
//! Each count goes to exactly one name: that of its cgroup if the cgroup had a place when the
//! count came, else [`OTHER`], or [`UNKNOWN`] where the cgroup has no name. The count of a name
//! therefore never decreases while the name exists, and removing a name changes no other count.

use std::collections::{BTreeMap, BTreeSet};

use probe_ebpf::{Road, Verdict};

use crate::snapshot::Snapshot;

/// The name of all cgroups without a place of their own.
pub const OTHER: &str = "other";
/// The name of processes whose cgroup is not known.
pub const UNKNOWN: &str = "unknown";
/// A newcomer takes the place of another cgroup if its cost is larger by this factor.
const MUCH_MORE: u64 = 2;

/// Folios by verdict, indexed by the verdict's number.
pub type Folios = [u64; Verdict::COUNT];

/// The folios that reclaim unmapped, by cgroup and verdict; `None`: the cgroup has no name.
///
/// A cgroup known by its number alone has no name: a series named by the number would stay for ever.
pub fn by_cgroup(snapshot: &Snapshot) -> BTreeMap<Option<String>, Folios> {
    let mut by: BTreeMap<_, Folios> = BTreeMap::new();
    let groups = snapshot.groups.iter();
    for (group, counts) in groups.filter(|(group, _)| group.road == Road::Reclaim) {
        let name = group.victim.as_ref().and_then(|v| v.cgroup.clone());
        let name = name.filter(|n| !n.starts_with("id:"));
        let sums = by.entry(name).or_default();
        for (sum, c) in sums.iter_mut().zip(counts) {
            *sum = sum.saturating_add(c.folios);
        }
    }
    by
}

/// The cgroups with a place, and the counts of all others.
#[derive(Clone, Debug, Default)]
pub struct Top {
    places: usize,
    kept: BTreeMap<String, Folios>,
    other: Folios,
    unknown: Folios,
    /// The counts of each cgroup at the last update.
    last: BTreeMap<String, Folios>,
}

impl Top {
    /// A ranking with this many places.
    pub fn new(places: usize) -> Self {
        Self {
            places,
            ..Self::default()
        }
    }

    /// Takes in the present totals of every cgroup; `None`: its name is not known. Cgroups that
    /// are `gone` lose their places.
    pub fn update(&mut self, now: &BTreeMap<Option<String>, Folios>, gone: impl Fn(&str) -> bool) {
        self.kept.retain(|name, _| !gone(name));
        self.give_places(now, &gone);
        for (name, folios) in now {
            let key = name.as_deref().unwrap_or(UNKNOWN);
            let last = self.last.get(key).copied().unwrap_or_default();
            let to = match name {
                None => &mut self.unknown,
                Some(name) => self.kept.get_mut(name).unwrap_or(&mut self.other),
            };
            for ((to, now), last) in to.iter_mut().zip(folios).zip(last) {
                *to = to.saturating_add(now.saturating_sub(last));
            }
            self.last.insert(key.to_owned(), *folios);
        }
        let there: BTreeSet<&str> = now
            .keys()
            .map(|name| name.as_deref().unwrap_or(UNKNOWN))
            .collect();
        self.last.retain(|name, _| there.contains(name.as_str()));
    }

    fn give_places(
        &mut self,
        now: &BTreeMap<Option<String>, Folios>,
        gone: &impl Fn(&str) -> bool,
    ) {
        let cost = |name: &String| now.get(&Some(name.clone())).map_or(0, futile);
        let mut wanting: Vec<(&String, u64)> = now
            .iter()
            .filter_map(|(name, folios)| Some((name.as_ref()?, futile(folios))))
            .filter(|(name, n)| *n > 0 && !self.kept.contains_key(*name) && !gone(name))
            .collect();
        wanting.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
        for (name, n) in wanting {
            if self.kept.len() >= self.places {
                let least = self
                    .kept
                    .keys()
                    .map(|kept| (cost(kept), kept.clone()))
                    .min();
                match least {
                    Some((least, kept)) if n > least.saturating_mul(MUCH_MORE) => {
                        self.kept.remove(&kept);
                    }
                    _ => break,
                }
            }
            // Its earlier counts stay where they were counted.
            self.kept.insert(name.clone(), Folios::default());
        }
    }

    /// Every name with its counts, [`OTHER`] and [`UNKNOWN`] last.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &Folios)> {
        let kept = self.kept.iter().map(|(name, p)| (name.as_str(), p));
        kept.chain([(OTHER, &self.other), (UNKNOWN, &self.unknown)])
    }
}

fn futile(folios: &Folios) -> u64 {
    Verdict::ALL
        .into_iter()
        .filter(|v| v.is_futile())
        .fold(0, |n, v| n.saturating_add(folios[v as usize]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folios(futile: u64) -> Folios {
        let mut f = Folios::default();
        f[Verdict::FutilePinned as usize] = futile;
        f[Verdict::Freed as usize] = 1;
        f
    }

    fn now(of: &[(&str, u64)]) -> BTreeMap<Option<String>, Folios> {
        of.iter()
            .map(|(name, n)| ((*name != "?").then(|| (*name).to_owned()), folios(*n)))
            .collect()
    }

    fn shown(top: &Top) -> Vec<(String, u64)> {
        top.counts()
            .map(|(n, f)| (n.to_owned(), futile(f)))
            .collect()
    }

    fn counts(of: &[(&str, u64)]) -> Vec<(String, u64)> {
        of.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect()
    }

    #[test]
    fn the_costliest_have_places_and_keep_them() {
        let mut top = Top::new(2);
        let never = |_: &str| false;
        top.update(&now(&[("/a", 10), ("/b", 5), ("/c", 1), ("?", 3)]), never);
        let first = [("/a", 10), ("/b", 5), ("other", 1), ("unknown", 3)];
        assert_eq!(shown(&top), counts(&first));
        // Not costly enough for a place.
        top.update(&now(&[("/a", 10), ("/b", 5), ("/c", 9), ("?", 3)]), never);
        let second = [("/a", 10), ("/b", 5), ("other", 9), ("unknown", 3)];
        assert_eq!(shown(&top), counts(&second));
        // Costly enough; earlier counts stay where they were.
        top.update(&now(&[("/a", 10), ("/b", 5), ("/c", 20), ("?", 3)]), never);
        let third = [("/a", 10), ("/c", 11), ("other", 9), ("unknown", 3)];
        assert_eq!(shown(&top), counts(&third));
    }

    #[test]
    fn the_dead_leave_no_series_and_none_goes_back() {
        let mut top = Top::new(2);
        top.update(&now(&[("/a", 10), ("/b", 5)]), |_| false);
        top.update(&now(&[("/a", 11), ("/b", 5)]), |name| name == "/a");
        let after = [("/b", 5), ("other", 1), ("unknown", 0)];
        assert_eq!(shown(&top), counts(&after));
    }

    proptest! {
        /// No count is lost or counted twice, and no remaining name decreases.
        #[test]
        fn every_count_goes_to_one_name(
            steps in proptest::collection::vec(proptest::collection::vec(0u64..50, 6), 1..20),
            dead in proptest::collection::vec(0usize..6, 20),
        ) {
            let mut top = Top::new(2);
            let mut totals = [0u64; 6];
            let mut kept_before: BTreeMap<String, u64> = BTreeMap::new();
            let mut lost = 0;
            for (step, more) in steps.iter().enumerate() {
                let mut state = BTreeMap::new();
                for (i, n) in more.iter().enumerate() {
                    totals[i] += n;
                    state.insert(Some(format!("/{i}")), folios(totals[i]));
                }
                let gone = format!("/{}", dead[step]);
                top.update(&state, |name| name == gone);
                let shown: BTreeMap<String, u64> = shown(&top).into_iter().collect();
                for (name, n) in &kept_before {
                    match shown.get(name) {
                        Some(now) => prop_assert!(now >= n),
                        None => lost += n,
                    }
                }
                prop_assert_eq!(
                    shown.values().sum::<u64>() + lost,
                    totals.iter().sum::<u64>()
                );
                kept_before = shown;
            }
        }
    }
}
