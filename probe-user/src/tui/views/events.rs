//! Events: individual futile unmaps, newest first.

use super::view::{Detail, Material, View};
use crate::{
    model::wording,
    tui::{
        table::{Cell, Row, Table, right, text},
        theme::Ink,
    },
};

pub(super) static VIEW: View = View {
    name: "events",
    short: "event",
    help: "events: individual futile unmaps",
    table,
    title: 1,
    detail: Detail::Row,
    keys: &[],
};

fn table(m: &Material) -> Table {
    let rows = m.events.iter().enumerate().map(|(i, e)| {
        let victim = e.victim.as_ref();
        let address = e.address.map_or("-".into(), |a| format!("{a:#x}"));
        let cgroup = victim.and_then(|v| v.cgroup.as_deref()).unwrap_or("-");
        let calls = e.notifier_calls.map_or("-".into(), |n| n.to_string());
        let time = e
            .notifier_ns
            .map_or("-".into(), |n| wording::duration(n as f64 / 1e9));
        Row {
            key: format!("{:.9} {i}", e.elapsed),
            cells: vec![
                Cell::number(Some(e.elapsed), |s| format!("{s:.3}")),
                Cell::text(e.verdict.as_str().trim_start_matches("futile_")).ink(Ink::Bad),
                Cell::known(victim.map(|v| format!("{} ({})", v.comm, v.pid))),
                Cell::text(e.memory.as_str()),
                Cell::text(format!("{} ({})", e.reclaimer_comm, e.reclaimer)),
                Cell::number(Some(e.unmap_ns as f64 / 1e9), wording::duration),
                Cell::number(Some(e.excess as f64), |n| wording::count(n as u64)),
                Cell::number(e.times.map(f64::from), |n| wording::count(n as u64)),
            ],
            detail: vec![
                format!(
                    "order {}, {} references, {} more than reclaim accounts for",
                    e.order,
                    wording::count(e.refcount.into()),
                    e.excess
                ),
                format!(
                    "{} mapping(s) removed; last at {address}; cgroup {cgroup}",
                    e.mappings
                ),
                format!(
                    "notifier: {calls} call(s), {time}; reclaimer tid {}",
                    e.reclaimer_tid
                ),
            ],
        }
    });
    Table {
        rows: rows.collect(),
        columns: vec![
            right("at s", 1),
            text("futile", 2),
            text("victim", 0),
            text("memory", 1),
            text("reclaimer", 2),
            right("unmap", 0),
            right("excess", 3),
            right("times", 4),
        ],
        sort: None,
        empty: "no individual futile unmap recorded yet (at most 20 per CPU and second are)".into(),
    }
}
