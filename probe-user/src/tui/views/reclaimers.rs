//! Reclaimers: who unmapped, and how much of it was futile.

use super::{
    sums,
    view::{Detail, Material, View},
};
use crate::{
    model::tables::reclaim::SumBy,
    tui::table::{Cell, Table, text},
};

pub(super) static VIEW: View = View {
    name: "reclaimers",
    short: "recl",
    help: "reclaimers: who unmapped",
    table,
    title: 0,
    detail: Detail::Row,
    keys: &[],
};

fn table(m: &Material) -> Table {
    let columns = vec![text("reclaimer", 0)];
    sums::table(m, SumBy::Reclaimer, "the reclaimer", columns, |sum| {
        vec![Cell::known(sum.reclaimer)]
    })
}
