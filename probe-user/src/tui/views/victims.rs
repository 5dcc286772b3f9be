//! Victims: whose mappings futile unmaps removed, by process or by cgroup.

use super::{
    format::share,
    hooks,
    view::{Detail, Material, View},
};
use crate::{
    model::{
        Who,
        tables::victims::{Per, victims},
        wording,
    },
    tui::{
        keys::{Binding, Command, When, c},
        table::{Cell, Column, Row, Table, right, text},
        theme::Ink,
    },
};

const CGROUPS: &str = "cgroups";

pub(super) static VIEW: View = View {
    name: "victims",
    short: "vict",
    help: "victims: whose mappings were removed",
    table,
    title: 1,
    detail: Detail::Row,
    keys: &[Binding {
        keys: &[c('c')],
        label: "c",
        command: Command::Switch(CGROUPS),
        help: "processes or cgroups",
        when: When::View("victims"),
        footer: Some("cgroups"),
    }],
};

fn table(m: &Material) -> Table {
    let per = if m.on(CGROUPS) {
        Per::Cgroup
    } else {
        Per::Process
    };
    let mut columns: Vec<Column> = Vec::new();
    if per == Per::Process {
        columns.extend([right("pid", 2), text("comm", 0)]);
    }
    let mappings = columns.len();
    columns.extend([
        right(m.scale.title("mappings", "mappings/s"), 0),
        right(m.scale.title("size", "size/s"), 1),
        right(m.scale.title("unmaps", "unmaps/s"), 3),
        right("futile", 2),
        text("cgroup", 1),
    ]);
    let victims = victims(m.capture, per);
    let empty = match victims {
        None => format!("victims are not measured here: see {}", m.see(&hooks::VIEW)),
        Some(_) => "no process lost a mapping to a futile unmap".into(),
    };
    let rows = victims.unwrap_or_default().into_iter().map(|victim| {
        let who = &victim.who;
        let mut cells = Vec::new();
        if per == Per::Process {
            cells.push(Cell::number(who.pid.map(f64::from), |n| format!("{n:.0}")));
            cells.push(Cell::known(who.comm.as_deref()));
        }
        cells.extend([
            m.scale.count(Some(victim.mappings)).ink(Ink::Bad),
            m.scale.bytes(Some(victim.pages)),
            m.scale.count(Some(victim.unmaps)),
            share(Some(victim.share())),
            Cell::known(who.cgroup.as_deref()),
        ]);
        Row {
            key: format!("{:?} {:?} {:?}", who.pid, who.comm, who.cgroup),
            cells,
            detail: detail(m, per, who),
        }
    });
    Table {
        rows: rows.collect(),
        columns,
        sort: Some(mappings),
        empty,
    }
}

/// The cgroup, and what was unmapped under this victim.
fn detail(m: &Material, per: Per, who: &Who) -> Vec<String> {
    let mut lines = vec![format!(
        "cgroup {}",
        who.cgroup.as_deref().unwrap_or("unknown")
    )];
    for g in m.capture.reclaim_groups() {
        if g.victim.as_ref().is_some_and(|v| per.key(v) == *who) {
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
