//! Victims: who lost mappings to futile unmaps.

use std::{cmp::Reverse, collections::BTreeMap};

use super::share::Share;
use crate::model::capture::{Capture, Who};

/// What one row of victims stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Per {
    /// One process.
    #[default]
    Process,
    /// All processes of one cgroup.
    Cgroup,
}

impl Per {
    /// The row that a process belongs to: by cgroup, its pid and comm do not count.
    pub fn key(self, who: &Who) -> Who {
        match self {
            Per::Process => who.clone(),
            Per::Cgroup => Who {
                cgroup: who.cgroup.clone(),
                ..Who::default()
            },
        }
    }
}

/// One victim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VictimRow {
    /// The process, or the cgroup alone.
    pub who: Who,
    /// Mappings that futile unmaps removed. A shared folio counts for each process that mapped
    /// it.
    pub mappings: u64,
    /// Pages of those mappings.
    pub pages: u64,
    /// All unmaps of folios that count under this victim: each folio under the first process
    /// whose mapping went.
    pub unmaps: u64,
    /// The futile ones among `unmaps`.
    pub futile: u64,
}

impl VictimRow {
    /// The share of this victim's unmaps that were futile.
    pub const fn share(&self) -> Share {
        Share::of(self.futile, self.unmaps)
    }
}

/// The victims, those with the most pages first; `None`: not measured.
pub fn victims(capture: &Capture, per: Per) -> Option<Vec<VictimRow>> {
    let mut rows: BTreeMap<Who, VictimRow> = BTreeMap::new();
    for v in capture.victims.as_ref()? {
        let who = per.key(&v.who);
        let row = rows.entry(who).or_default();
        row.mappings = row.mappings.saturating_add(v.mappings);
        row.pages = row.pages.saturating_add(v.pages);
    }
    for g in capture.reclaim_groups() {
        let victim = g.victim.as_ref().map(|who| per.key(who));
        if let Some(row) = victim.and_then(|who| rows.get_mut(&who)) {
            row.unmaps = row.unmaps.saturating_add(g.total().folios);
            row.futile = row.futile.saturating_add(g.futile().folios);
        }
    }
    let mut rows: Vec<VictimRow> = rows
        .into_iter()
        .map(|(who, row)| VictimRow { who, ..row })
        .collect();
    // Stable: equals stay in the order of their names.
    rows.sort_by_key(|row| Reverse((row.pages, row.mappings)));
    Some(rows)
}
