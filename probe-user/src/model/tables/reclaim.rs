//! Unmaps summed by reclaimer, by memory, or by both.

use std::{cmp::Reverse, collections::BTreeMap};

use probe_ebpf::Verdict;

use super::{emphasis::Emphasis, share::Share};
use crate::model::capture::{ByVerdict, Capture, Group, Tally};

/// What the groups are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumBy {
    /// Reclaimer, memory and order.
    All,
    /// Reclaimer alone.
    Reclaimer,
    /// Memory and order.
    Memory,
}

/// The unmaps of one reclaimer, one kind of memory, or one pair of them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReclaimRow<'a> {
    /// The reclaimer's word; `None` where all are summed.
    pub reclaimer: Option<&'a str>,
    /// The word for the kind of memory; `None` where all are summed.
    pub memory: Option<&'a str>,
    /// Folios of 2^order pages; `None` where all are summed.
    pub order: Option<u8>,
    /// Only the verdicts that occur.
    pub by_verdict: ByVerdict<Tally>,
    /// All unmaps.
    pub all: Tally,
    /// The futile ones.
    pub futile: Tally,
}

impl ReclaimRow<'_> {
    /// The share of futile unmaps.
    pub const fn share(&self) -> Share {
        Share::of(self.futile.folios, self.all.folios)
    }

    /// How much attention the futile unmaps deserve.
    pub const fn emphasis(&self) -> Emphasis {
        Emphasis::futile(self.futile.folios)
    }

    /// The folios of one verdict; 0 where it does not occur.
    pub fn folios(&self, verdict: Verdict) -> u64 {
        self.by_verdict.get(verdict).map_or(0, |t| t.folios)
    }
}

type Key<'a> = (Option<&'a str>, Option<&'a str>, Option<u8>);

fn key(group: &Group, by: SumBy) -> Key<'_> {
    let reclaimer = Some(group.reclaimer.as_str());
    let (memory, order) = (Some(group.memory.as_str()), Some(group.order));
    match by {
        SumBy::All => (reclaimer, memory, order),
        SumBy::Reclaimer => (reclaimer, None, None),
        SumBy::Memory => (None, memory, order),
    }
}

/// The sums, those with the most futile pages first, then those with the most pages; `None`:
/// not measured.
pub fn reclaim(capture: &Capture, by: SumBy) -> Option<Vec<ReclaimRow<'_>>> {
    let mut sums: BTreeMap<Key<'_>, ByVerdict<Tally>> = BTreeMap::new();
    capture.groups.as_ref()?;
    for group in capture.reclaim_groups() {
        let sum = sums.entry(key(group, by)).or_default();
        for (verdict, tally) in group.by_verdict.iter() {
            let to = sum.entry(verdict);
            to.folios = to.folios.saturating_add(tally.folios);
            to.pages = to.pages.saturating_add(tally.pages);
        }
    }
    let mut rows: Vec<ReclaimRow<'_>> = sums
        .into_iter()
        .map(|((reclaimer, memory, order), by_verdict)| ReclaimRow {
            reclaimer,
            memory,
            order,
            all: by_verdict.total(),
            futile: by_verdict.futile(),
            by_verdict,
        })
        .collect();
    // Stable: equals stay in the order of their words.
    rows.sort_by_key(|row| Reverse((row.futile.pages, row.all.pages)));
    Some(rows)
}
