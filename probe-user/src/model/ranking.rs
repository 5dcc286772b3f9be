//! The cgroups with most futile unmaps of late, in bounded number, so that metrics can have a label
//! for each.
//!
//! Every count is in exactly one row: that of its cgroup if the cgroup has a place, else [`OTHER`],
//! or [`UNKNOWN`] where the cgroup has no name. When a cgroup loses its place, [`OTHER`] takes over
//! its counts. So the rows always add up to the total, and no row ever decreases.

use std::collections::{BTreeMap, BTreeSet};

use probe_ebpf::{Road, Verdict};

use crate::snapshot::{self, Process, Snapshot};

/// The name of all cgroups without a place of their own.
pub const OTHER: &str = "other";
/// The name of processes whose cgroup is not known.
pub const UNKNOWN: &str = "unknown";
/// The time after which a futile unmap weighs half, in seconds. Long enough that bursts some
/// minutes apart keep their place, short enough that yesterday's do not.
const HALF_LIFE: f64 = 600.0;
/// A newcomer takes the place of another cgroup if it weighs more by this factor.
const MUCH_MORE: f64 = 2.0;

/// What reclaim's unmaps of one verdict cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Unmapped folios.
    pub folios: u64,
    /// Pages of these folios.
    pub pages: u64,
    /// Time in `try_to_unmap`, in ns.
    pub ns: u64,
}

/// Costs by verdict, indexed by the verdict's number.
pub type Usage = [Cost; Verdict::COUNT];

fn add(to: &mut Usage, from: &Usage) {
    for (to, from) in to.iter_mut().zip(from) {
        to.folios = to.folios.saturating_add(from.folios);
        to.pages = to.pages.saturating_add(from.pages);
        to.ns = to.ns.saturating_add(from.ns);
    }
}

/// Returns what `now` has more than `then`, each count on its own.
fn more(now: &Usage, then: &Usage) -> Usage {
    std::array::from_fn(|v| Cost {
        folios: now[v].folios.saturating_sub(then[v].folios),
        pages: now[v].pages.saturating_sub(then[v].pages),
        ns: now[v].ns.saturating_sub(then[v].ns),
    })
}

/// The identity of a cgroup: its id. Where that is not known, its path.
type Id = (u64, Option<String>);

/// The totals of reclaim by cgroup.
#[derive(Clone, Debug, Default)]
pub struct ByCgroup {
    /// The name of each cgroup, and its totals. A cgroup known by its number alone has no name: a
    /// series named by the number would say nothing.
    cgroups: BTreeMap<Id, (Option<String>, Usage)>,
    /// What has no cgroup of its own any more; see [`Process::others`].
    others: Usage,
}

/// Sums up the groups of reclaim by cgroup.
pub fn by_cgroup(snapshot: &Snapshot) -> ByCgroup {
    let mut by = ByCgroup::default();
    let groups = snapshot.groups.iter();
    for (group, counts) in groups.filter(|(group, _)| group.road == Road::Reclaim) {
        let victim = group.victim.as_ref();
        let to = if victim.is_some_and(Process::is_others) {
            &mut by.others
        } else {
            let name = victim.and_then(|v| v.cgroup.clone());
            let name = name.filter(|n| !n.starts_with("id:"));
            let id = match victim.map_or(0, |v| v.cgroup_id) {
                0 => (0, name.clone()),
                id => (id, None),
            };
            &mut by.cgroups.entry(id).or_insert((name, Usage::default())).1
        };
        let cost = |c: &snapshot::Counts| Cost {
            folios: c.folios,
            pages: c.pages,
            ns: c.unmap_ns,
        };
        add(to, &std::array::from_fn(|v| cost(&counts[v])));
    }
    by
}

/// A cgroup's place.
#[derive(Clone, Debug)]
struct Place {
    /// The time of the update before the one that gave it, since when it counts.
    since: f64,
    usage: Usage,
}

/// The cgroups with a place, and the counts of all others.
#[derive(Clone, Debug, Default)]
pub struct Top {
    limit: usize,
    /// By name: a cgroup that is removed and made again goes on counting.
    places: BTreeMap<String, Place>,
    other: Usage,
    unknown: Usage,
    /// Futile folios of every cgroup that exists, less those that time has worn off.
    weights: BTreeMap<String, f64>,
    /// The totals at the last update, and its time.
    last: ByCgroup,
    at: f64,
}

impl Top {
    /// A ranking with this many places.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Takes in the present totals, at `at` seconds since counting began. Cgroups without any lose
    /// their places.
    pub fn update(&mut self, now: ByCgroup, at: f64) {
        let (by_name, of_others) = self.news(&now);
        self.weigh(&by_name, at);
        for name in self.losers(&by_name) {
            self.take_place(&name);
        }
        self.give_places();
        for (name, news) in &by_name {
            let to = match name.as_ref().map(|name| self.places.get_mut(name)) {
                None => &mut self.unknown,
                Some(Some(place)) => &mut place.usage,
                Some(None) => &mut self.other,
            };
            add(to, news);
        }
        add(&mut self.other, &of_others);
        self.last = now;
        self.at = at;
    }

    /// Returns what was counted since the last update, by name, and what was counted of others.
    /// The counts of a cgroup that is gone move to those of others: that is not new.
    fn news(&self, now: &ByCgroup) -> (BTreeMap<Option<String>, Usage>, Usage) {
        let mut by_name: BTreeMap<_, Usage> = BTreeMap::new();
        let mut moved = Usage::default();
        for (id, (name, usage)) in &now.cgroups {
            let then = self.last.cgroups.get(id).map(|(_, usage)| *usage);
            let then = then.unwrap_or_default();
            add(
                by_name.entry(name.clone()).or_default(),
                &more(usage, &then),
            );
            add(&mut moved, &more(&then, usage));
        }
        let last = self.last.cgroups.iter();
        for (_, (_, then)) in last.filter(|(id, _)| !now.cgroups.contains_key(*id)) {
            add(&mut moved, then);
        }
        let of_others = more(&more(&now.others, &self.last.others), &moved);
        (by_name, of_others)
    }

    fn weigh(&mut self, by_name: &BTreeMap<Option<String>, Usage>, at: f64) {
        let left = 0.5f64.powf((at - self.at).max(0.0) / HALF_LIFE);
        let named = by_name
            .iter()
            .filter_map(|(n, news)| Some((n.as_ref()?, news)));
        self.weights = named
            .map(|(name, news)| {
                let before = self.weights.get(name).copied().unwrap_or(0.0);
                (name.clone(), before * left + futile(news))
            })
            .collect();
    }

    /// The cgroups with a place that exist no more.
    fn losers(&self, by_name: &BTreeMap<Option<String>, Usage>) -> Vec<String> {
        let there: BTreeSet<&String> = by_name.keys().flatten().collect();
        let names = self.places.keys();
        names
            .filter(|name| !there.contains(name))
            .cloned()
            .collect()
    }

    fn take_place(&mut self, name: &str) {
        if let Some(place) = self.places.remove(name) {
            add(&mut self.other, &place.usage);
        }
    }

    fn weight(&self, name: &str) -> f64 {
        self.weights.get(name).copied().unwrap_or(0.0)
    }

    fn give_places(&mut self) {
        let weights = self.weights.iter();
        let mut wanting: Vec<(String, f64)> = weights
            .filter(|(name, weight)| **weight > 0.0 && !self.places.contains_key(*name))
            .map(|(name, weight)| (name.clone(), *weight))
            .collect();
        // Stable: equals stay in the order of their names.
        wanting.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        for (name, weight) in wanting {
            let full = self.places.len() >= self.limit;
            let least = self.places.keys().filter(|_| full);
            let least = least.min_by(|a, b| self.weight(a).total_cmp(&self.weight(b)));
            match least.cloned() {
                Some(least) if weight <= self.weight(&least) * MUCH_MORE => break,
                None if full => break,
                Some(least) => self.take_place(&least),
                None => {}
            }
            let place = Place {
                since: self.at,
                usage: Usage::default(),
            };
            self.places.insert(name, place);
        }
    }

    /// Every name with the time since when it counts and its counts; [`OTHER`] and [`UNKNOWN`]
    /// come last.
    pub fn counts(&self) -> impl Iterator<Item = (&str, f64, &Usage)> {
        let places = self.places.iter();
        let places = places.map(|(name, p)| (name.as_str(), p.since, &p.usage));
        places.chain([(OTHER, 0.0, &self.other), (UNKNOWN, 0.0, &self.unknown)])
    }
}

fn futile(usage: &Usage) -> f64 {
    let futile = Verdict::ALL.into_iter().filter(|v| v.is_futile());
    futile.map(|v| usage[v as usize].folios as f64).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FUTILE: usize = Verdict::FutilePinned as usize;
    const FREED: usize = Verdict::Freed as usize;

    /// `n` futile folios of 4 pages, and as many freed ones.
    fn usage(n: u64) -> Usage {
        let mut usage = Usage::default();
        for verdict in [FUTILE, FREED] {
            usage[verdict] = Cost {
                folios: n,
                pages: 4 * n,
                ns: 1000 * n,
            };
        }
        usage
    }

    /// Totals by id and name; `?` has no name, `-` is what is gone.
    fn totals(of: &[(u64, &str, u64)]) -> ByCgroup {
        let mut by = ByCgroup::default();
        for (id, name, n) in of {
            if *name == "-" {
                by.others = usage(*n);
            } else {
                let name = (*name != "?").then(|| (*name).to_owned());
                by.cgroups.insert((*id, None), (name, usage(*n)));
            }
        }
        by
    }

    fn shown(top: &Top) -> Vec<(String, u64)> {
        top.counts()
            .map(|(n, _, u)| (n.to_owned(), u[FUTILE].folios))
            .collect()
    }

    fn rows(of: &[(&str, u64)]) -> Vec<(String, u64)> {
        of.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect()
    }

    #[test]
    fn what_a_cgroup_counts_before_it_has_a_place_is_of_others() {
        let mut top = Top::new(2);
        let first = [(1, "/a", 10), (2, "/b", 5), (3, "/c", 1), (4, "?", 3)];
        top.update(totals(&first), 15.0);
        let expected = [("/a", 10), ("/b", 5), ("other", 1), ("unknown", 3)];
        assert_eq!(shown(&top), rows(&expected));
        // Not enough for a place.
        let second = [(1, "/a", 10), (2, "/b", 5), (3, "/c", 9), (4, "?", 3)];
        top.update(totals(&second), 30.0);
        let expected = [("/a", 10), ("/b", 5), ("other", 9), ("unknown", 3)];
        assert_eq!(shown(&top), rows(&expected));
        // Enough: it counts since the last update, and others take over what lost its place.
        let third = [(1, "/a", 10), (2, "/b", 5), (3, "/c", 20), (4, "?", 3)];
        top.update(totals(&third), 45.0);
        let expected = [("/a", 10), ("/c", 11), ("other", 14), ("unknown", 3)];
        assert_eq!(shown(&top), rows(&expected));
        let since: Vec<f64> = top.counts().map(|(_, since, _)| since).collect();
        assert_eq!(since, [0.0, 30.0, 0.0, 0.0]);
    }

    #[test]
    fn todays_culprit_takes_the_place_of_yesterdays() {
        let mut top = Top::new(1);
        top.update(totals(&[(1, "/old", 1_000_000)]), 3600.0);
        let mut at = 3600.0 + 86_400.0;
        top.update(totals(&[(1, "/old", 1_000_000)]), at);
        for update in 1..=3u64 {
            at += 15.0;
            let now = [(1, "/old", 1_000_000), (2, "/new", 10 * update)];
            top.update(totals(&now), at);
        }
        let expected = [("/new", 30), ("other", 1_000_000), ("unknown", 0)];
        assert_eq!(shown(&top), rows(&expected));
        // Bursts some minutes apart keep the place from one that does a little all the time.
        for update in 1..=40u64 {
            at += 15.0;
            let now = [
                (1, "/old", 1_000_000),
                (2, "/new", 30),
                (3, "/little", update / 2),
            ];
            top.update(totals(&now), at);
        }
        assert_eq!(shown(&top)[0], ("/new".to_owned(), 30));
    }

    #[test]
    fn the_dead_move_to_others_and_count_once() {
        let mut top = Top::new(2);
        top.update(totals(&[(1, "/a", 10), (2, "?", 7)]), 15.0);
        // Two more were counted before the keys were given back.
        top.update(totals(&[(0, "-", 19)]), 30.0);
        assert_eq!(shown(&top), rows(&[("other", 12), ("unknown", 7)]));
    }

    #[test]
    fn a_cgroup_that_is_made_again_goes_on_counting() {
        let mut top = Top::new(2);
        top.update(totals(&[(1, "/a", 10)]), 15.0);
        top.update(totals(&[(1, "/a", 10), (2, "/a", 3)]), 30.0);
        top.update(totals(&[(0, "-", 10), (2, "/a", 5)]), 45.0);
        assert_eq!(
            shown(&top),
            rows(&[("/a", 15), ("other", 0), ("unknown", 0)])
        );
    }

    #[test]
    fn a_name_may_be_learnt_late() {
        let mut top = Top::new(2);
        top.update(totals(&[(1, "?", 10)]), 15.0);
        top.update(totals(&[(1, "/a", 14)]), 30.0);
        assert_eq!(
            shown(&top),
            rows(&[("/a", 4), ("other", 0), ("unknown", 10)])
        );
    }

    /// What happens to one cgroup between two updates.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Counts(u64),
        /// It counts a last time, and its keys are given back.
        Dies(u64),
        Named(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u64..500).prop_map(Step::Counts),
            2 => (0u64..50).prop_map(Step::Dies),
            1 => (0usize..4).prop_map(Step::Named),
        ]
    }

    proptest! {
        /// The rows add up to the total at every step, and no row decreases while it exists.
        #[test]
        fn every_count_is_in_one_row(
            steps in proptest::collection::vec(
                (proptest::collection::vec(step(), 6), 1.0f64..2000.0), 1..40),
            places in 0usize..4,
        ) {
            let names = ["/a", "/b", "/c", "/d"];
            let mut top = Top::new(places);
            // Names may be shared; a dead cgroup's place is taken by a new id.
            let mut alive: Vec<(u64, Option<&str>, u64)> = (0..6)
                .map(|i| (i + 1, (i > 0).then(|| names[i as usize % 4]), 0))
                .collect();
            let (mut others, mut at, mut next) = (0, 0.0, 7);
            let mut before: BTreeMap<String, (u64, f64)> = BTreeMap::new();
            for (all, after) in &steps {
                for (cgroup, step) in alive.iter_mut().zip(all) {
                    match step {
                        Step::Counts(n) => cgroup.2 += n,
                        Step::Dies(n) => {
                            others += cgroup.2 + n;
                            *cgroup = (next, cgroup.1, 0);
                            next += 1;
                        }
                        Step::Named(name) => cgroup.1 = Some(names[*name]),
                    }
                }
                at += after;
                let mut now = ByCgroup { others: usage(others), ..ByCgroup::default() };
                for (id, name, n) in alive.iter().filter(|(_, _, n)| *n > 0) {
                    let name = name.map(str::to_owned);
                    now.cgroups.insert((*id, None), (name, usage(*n)));
                }
                top.update(now, at);
                let total = others + alive.iter().map(|(_, _, n)| n).sum::<u64>();
                let mut sum = Usage::default();
                top.counts().for_each(|(_, _, u)| add(&mut sum, u));
                prop_assert_eq!(sum, usage(total));
                let shown: BTreeMap<String, (u64, f64)> = top
                    .counts()
                    .map(|(name, since, u)| (name.to_owned(), (u[FUTILE].folios, since)))
                    .collect();
                prop_assert!(shown.len() <= places + 2);
                for (name, (n, since)) in &before {
                    match shown.get(name) {
                        Some((now, s)) if s == since => prop_assert!(now >= n, "{} decreased", name),
                        Some((_, s)) => prop_assert!(s > since, "{} counts anew", name),
                        None => prop_assert!(name.starts_with('/')),
                    }
                }
                before = shown;
            }
        }
    }
}
