//! Memory: which kinds of memory were unmapped, by the order of their folios.

use super::{
    sums,
    view::{Detail, Material, View},
};
use crate::{
    model::tables::reclaim::SumBy,
    tui::table::{Cell, Table, right, text},
};

pub(super) static VIEW: View = View {
    name: "memory",
    short: "mem",
    help: "memory: the kinds of memory unmapped",
    table,
    title: 0,
    detail: Detail::Row,
    keys: &[],
};

fn table(m: &Material) -> Table {
    let columns = vec![text("memory", 0), right("order", 3)];
    sums::table(m, SumBy::Memory, "the kind of memory", columns, |sum| {
        vec![
            Cell::known(sum.memory),
            Cell::number(sum.order.map(f64::from), |n| format!("{n:.0}")),
        ]
    })
}
