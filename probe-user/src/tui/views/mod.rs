//! What each view shows, as a table.

mod more;

pub(super) use more::{histogram_of, value};

use std::collections::{BTreeMap, VecDeque};

use probe_ebpf::Verdict;

use super::{
    table::{Cell, Column, Row, Table, right, text},
    theme::Ink,
};
use crate::{
    model::{Capture, Who, wording},
    snapshot::Event,
};

/// The views, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// What became of the unmapped folios.
    Overview,
    /// Whose mappings went in vain.
    Victims,
    /// Who unmapped.
    Reclaimers,
    /// What kinds of memory.
    Memory,
    /// Who listens on MMU notifiers.
    Subscribers,
    /// Distributions.
    Histograms,
    /// Single futile unmaps.
    Events,
    /// What is measured.
    Hooks,
    /// What it means.
    Findings,
}

impl View {
    /// All of them.
    pub const ALL: [View; 9] = [
        View::Overview,
        View::Victims,
        View::Reclaimers,
        View::Memory,
        View::Subscribers,
        View::Histograms,
        View::Events,
        View::Hooks,
        View::Findings,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            View::Overview => "overview",
            View::Victims => "victims",
            View::Reclaimers => "reclaimers",
            View::Memory => "memory",
            View::Subscribers => "subscribers",
            View::Histograms => "histograms",
            View::Events => "events",
            View::Hooks => "hooks",
            View::Findings => "findings",
        }
    }
}

impl View {
    /// Its name where there is little room.
    pub(in crate::tui) fn short(self) -> &'static str {
        match self {
            View::Overview => "over",
            View::Victims => "vict",
            View::Reclaimers => "recl",
            View::Memory => "mem",
            View::Subscribers => "subs",
            View::Histograms => "hist",
            View::Events => "event",
            View::Hooks => "hook",
            View::Findings => "find",
        }
    }
}

/// How counts are shown: as they are, or for each second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tui) struct Scale {
    /// `Some(seconds)`: divided by them.
    pub(in crate::tui) per: Option<f64>,
}

impl Scale {
    pub(in crate::tui) fn count(self, n: Option<u64>) -> Cell {
        match self.per {
            None => Cell::number(n.map(|n| n as f64), |n| wording::count(n as u64)),
            Some(seconds) => Cell::number(
                n.filter(|_| seconds > 0.0).map(|n| n as f64 / seconds),
                rate,
            ),
        }
    }

    fn bytes(self, pages: Option<u64>) -> Cell {
        match self.per {
            None => Cell::number(pages.map(|n| n as f64), |n| wording::pages(n as u64)),
            Some(seconds) => Cell::number(
                pages.filter(|_| seconds > 0.0).map(|n| n as f64 / seconds),
                |n| wording::pages(n.round() as u64),
            ),
        }
    }

    pub(in crate::tui) fn seconds(self, s: Option<f64>) -> Cell {
        match self.per {
            None => Cell::number(s, wording::duration),
            Some(seconds) => Cell::number(
                s.filter(|_| seconds > 0.0).map(|s| s / seconds),
                wording::duration,
            ),
        }
    }

    /// The heading of a count.
    pub(in crate::tui) fn title(self, total: &'static str, rate: &'static str) -> &'static str {
        if self.per.is_some() { rate } else { total }
    }
}

/// A rate in few characters.
pub(in crate::tui) fn rate(n: f64) -> String {
    if n == 0.0 {
        "0".into()
    } else if n < 10.0 {
        format!("{n:.1}")
    } else {
        wording::count(n.round() as u64)
    }
}

/// What a view is made of.
pub(in crate::tui) struct Material<'a> {
    /// The counts it shows.
    pub(in crate::tui) capture: &'a Capture,
    /// Totals or rates.
    pub(in crate::tui) scale: Scale,
    /// The latest events, newest first.
    pub(in crate::tui) events: &'a VecDeque<Event>,
    /// Victims by cgroup.
    pub(in crate::tui) cgroups: bool,
}

/// The table of a view.
pub(in crate::tui) fn table(view: View, m: &Material) -> Table {
    match view {
        View::Overview => overview(m),
        View::Victims => victims(m),
        View::Reclaimers => groups(
            m,
            "reclaimer",
            |g| vec![g.reclaimer.to_string()],
            &["reclaimer"],
        ),
        View::Memory => groups(
            m,
            "memory",
            |g| vec![g.memory.to_string(), g.order.to_string()],
            &["memory", "order"],
        ),
        View::Subscribers => more::subscribers(m),
        View::Histograms => more::histograms(m),
        View::Events => more::events(m),
        View::Hooks => more::hooks(m),
        View::Findings => more::findings(m),
    }
}

pub(in crate::tui) fn share(part: u64, whole: u64) -> Cell {
    let of = (whole > 0).then(|| part as f64 / whole as f64);
    Cell::number(of, |_| wording::share(part, whole))
}

fn overview(m: &Material) -> Table {
    let unmaps = &m.capture.unmaps;
    let total = unmaps.total.unwrap_or(0);
    let mut rows = Vec::new();
    for row in crate::model::tables::verdicts::verdicts(m.capture) {
        let (verdict, meaning, value) = (row.verdict, row.meaning, row.total);
        let some = value.is_some_and(|v| v.folios > 0);
        let ink = match verdict {
            v if some && v.is_futile() => Ink::Bad,
            Verdict::Restored if some => Ink::Warn,
            _ if some => Ink::Plain,
            _ => Ink::Dim,
        };
        let share = match value {
            Some(v) => share(v.folios, total),
            None => Cell::number(None, |_| String::new()),
        };
        rows.push(Row {
            key: verdict.name().into(),
            cells: vec![
                Cell::text(verdict.name()).ink(ink),
                m.scale.count(value.map(|v| v.folios)),
                share,
                m.scale.count(value.map(|v| v.pages)),
                m.scale.bytes(value.map(|v| v.pages)),
                m.scale.count(value.and_then(|v| v.notifier_calls)),
                Cell::text(meaning).ink(Ink::Dim),
            ],
            detail: why_unknown(m, value.is_none()),
        });
    }
    Table {
        columns: vec![
            text("verdict", 0),
            right(m.scale.title("folios", "folios/s"), 0),
            right("share", 1),
            right(m.scale.title("pages", "pages/s"), 3),
            right(m.scale.title("size", "size/s"), 2),
            right(m.scale.title("notified", "notified/s"), 1),
            text("that is", 4),
        ],
        rows,
        sort: None,
        empty: "what is unmapped isn't measured here: see hooks (8)".into(),
    }
}

/// Why something isn't known, where it isn't.
pub(in crate::tui) fn why_unknown(m: &Material, unknown: bool) -> Vec<String> {
    if !unknown {
        return Vec::new();
    }
    m.capture
        .not_measured
        .iter()
        .map(|g| format!("not measured: {}: {}", g.what, g.why))
        .collect()
}

pub(in crate::tui) fn who_key(who: &Who) -> String {
    format!("{:?} {:?} {:?}", who.pid, who.comm, who.cgroup)
}

pub(in crate::tui) fn or_dash(s: Option<&String>) -> Cell {
    match s {
        Some(s) => Cell::text(s.as_str()),
        None => Cell::number(None, |_| String::new()),
    }
}

fn victims(m: &Material) -> Table {
    let mut columns: Vec<Column> = Vec::new();
    if !m.cgroups {
        columns.extend([right("pid", 2), text("comm", 0)]);
    }
    columns.extend([
        right(m.scale.title("mappings", "mappings/s"), 0),
        right(m.scale.title("size", "size/s"), 1),
        right(m.scale.title("unmaps", "unmaps/s"), 3),
        right("in vain", 2),
        text("cgroup", 1),
    ]);
    let empty = match &m.capture.victims {
        None => "whose mappings go isn't measured here: see hooks (8)",
        Some(_) => "nobody lost a mapping in vain",
    };
    // Mappings and pages in vain; unmaps counted under it, and those of them in vain.
    let mut sums: BTreeMap<Who, [u64; 4]> = BTreeMap::new();
    let name = |who: &Who| {
        if m.cgroups {
            Who {
                cgroup: who.cgroup.clone(),
                ..Who::default()
            }
        } else {
            who.clone()
        }
    };
    for v in m.capture.victims.iter().flatten() {
        let sum = sums.entry(name(&v.who)).or_default();
        sum[0] = sum[0].saturating_add(v.mappings);
        sum[1] = sum[1].saturating_add(v.pages);
    }
    for g in m.capture.groups.iter().flatten() {
        if let Some(sum) = g.victim.as_ref().and_then(|v| sums.get_mut(&name(v))) {
            sum[2] = sum[2].saturating_add(g.total().folios);
            sum[3] = sum[3].saturating_add(g.futile().folios);
        }
    }
    let rows = sums
        .into_iter()
        .map(|(who, [mappings, pages, unmaps, futile])| {
            let mut cells = Vec::new();
            if !m.cgroups {
                cells.push(Cell::number(who.pid.map(f64::from), |n| format!("{n:.0}")));
                cells.push(or_dash(who.comm.as_ref()));
            }
            cells.extend([
                m.scale.count(Some(mappings)).ink(Ink::Bad),
                m.scale.bytes(Some(pages)),
                m.scale.count(Some(unmaps)),
                share(futile, unmaps),
                or_dash(who.cgroup.as_ref()),
            ]);
            Row {
                key: who_key(&who),
                cells,
                detail: victim_detail(m, &who),
            }
        })
        .collect();
    Table {
        sort: Some(if m.cgroups { 0 } else { 2 }),
        columns,
        rows,
        empty: empty.into(),
    }
}

fn victim_detail(m: &Material, who: &Who) -> Vec<String> {
    let mut lines = vec![format!(
        "cgroup {}",
        who.cgroup.as_deref().unwrap_or("not known")
    )];
    let of = |v: &Who| {
        if m.cgroups {
            v.cgroup == who.cgroup
        } else {
            v == who
        }
    };
    for g in m.capture.groups.iter().flatten() {
        if g.victim.as_ref().is_some_and(of) {
            let verdicts: Vec<String> = g
                .by_verdict
                .iter()
                .map(|(v, t)| format!("{} {}", wording::count(t.folios), v.name()))
                .collect();
            lines.push(format!(
                "{}, order {}, by {}: {}",
                g.memory,
                g.order,
                g.reclaimer,
                verdicts.join(", ")
            ));
        }
    }
    lines
}

fn groups(
    m: &Material,
    what: &str,
    by: impl Fn(&crate::model::Group) -> Vec<String>,
    names: &[&'static str],
) -> Table {
    let mut sums: BTreeMap<Vec<String>, BTreeMap<Verdict, (u64, u64)>> = BTreeMap::new();
    for g in m.capture.groups.iter().flatten() {
        let sum = sums.entry(by(g)).or_default();
        for (v, t) in g.by_verdict.iter() {
            let s = sum.entry(v).or_default();
            *s = (s.0.saturating_add(t.folios), s.1.saturating_add(t.pages));
        }
    }
    let mut columns: Vec<Column> = names
        .iter()
        .map(|n| {
            if *n == "order" {
                right(n, 3)
            } else {
                text(n, 0)
            }
        })
        .collect();
    let sort = columns.len() + 1;
    columns.extend([
        right(m.scale.title("unmaps", "unmaps/s"), 0),
        right(m.scale.title("in vain", "in vain/s"), 0),
        right("share", 1),
        right(m.scale.title("size in vain", "vain size/s"), 2),
        right(m.scale.title("restored", "restored/s"), 4),
        right(m.scale.title("freed", "freed/s"), 3),
        right(m.scale.title("writeback", "written/s"), 4),
    ]);
    let rows = sums
        .into_iter()
        .map(|(key, verdicts)| {
            let of = |v: Verdict| verdicts.get(&v).copied().unwrap_or_default();
            let all: u64 = verdicts.values().map(|t| t.0).fold(0, u64::saturating_add);
            let (pinned, referenced) = (of(Verdict::FutilePinned), of(Verdict::FutileReferenced));
            let futile = pinned.0.saturating_add(referenced.0);
            let ink = if futile > 0 { Ink::Bad } else { Ink::Plain };
            let mut cells: Vec<Cell> = key
                .iter()
                .zip(names)
                .map(|(k, n)| match k.parse::<f64>() {
                    Ok(order) if *n == "order" => Cell::number(Some(order), |n| format!("{n:.0}")),
                    _ => Cell::text(k.as_str()),
                })
                .collect();
            cells.extend([
                m.scale.count(Some(all)),
                m.scale.count(Some(futile)).ink(ink),
                share(futile, all),
                m.scale.bytes(Some(pinned.1.saturating_add(referenced.1))),
                m.scale.count(Some(of(Verdict::Restored).0)),
                m.scale.count(Some(of(Verdict::Freed).0)),
                m.scale.count(Some(of(Verdict::Writeback).0)),
            ]);
            Row {
                detail: verdicts
                    .iter()
                    .map(|(v, t)| {
                        format!(
                            "{}: {} folios, {}",
                            v.name(),
                            wording::count(t.0),
                            wording::pages(t.1)
                        )
                    })
                    .collect(),
                key: key.join(" "),
                cells,
            }
        })
        .collect();
    Table {
        columns,
        rows,
        sort: Some(sort),
        empty: match m.capture.groups {
            None => format!("the {what} isn't measured here: see hooks (8)"),
            Some(_) => "nothing was unmapped".into(),
        },
    }
}
