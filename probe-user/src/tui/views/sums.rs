//! Unmaps summed by something: the table of reclaimers and of kinds of memory.

use probe_ebpf::Verdict;

use super::{
    format::{ink, share},
    hooks,
    view::Material,
};
use crate::{
    model::{
        tables::{
            ReclaimRow,
            reclaim::{SumBy, reclaim},
        },
        wording,
    },
    tui::table::{Cell, Column, Row, Table, right},
};

/// The sums: `columns` and `cells` name what they are summed by, `what` says it where it is not
/// measured.
pub(super) fn table(
    m: &Material,
    by: SumBy,
    what: &str,
    mut columns: Vec<Column>,
    cells: fn(&ReclaimRow) -> Vec<Cell>,
) -> Table {
    let futile = columns.len() + 1;
    columns.extend([
        right(m.scale.title("unmaps", "unmaps/s"), 0),
        right(m.scale.title("futile", "futile/s"), 0),
        right("share", 1),
        right(m.scale.title("futile size", "futile size/s"), 2),
        right(m.scale.title("restored", "restored/s"), 4),
        right(m.scale.title("freed", "freed/s"), 3),
        right(m.scale.title("writeback", "written/s"), 4),
    ]);
    let sums = reclaim(m.capture, by);
    let empty = match sums {
        None => format!("{what} is not measured here: see {}", m.see(&hooks::VIEW)),
        Some(_) => "nothing was unmapped".into(),
    };
    let rows = sums.unwrap_or_default().into_iter().map(|sum| {
        let mut cells = cells(&sum);
        let key: Vec<&str> = cells.iter().map(|c| c.text.as_str()).collect();
        let key = key.join(" ");
        cells.extend([
            m.scale.count(Some(sum.all.folios)),
            m.scale
                .count(Some(sum.futile.folios))
                .ink(ink(sum.emphasis())),
            share(Some(sum.share())),
            m.scale.bytes(Some(sum.futile.pages)),
            m.scale.count(Some(sum.folios(Verdict::Restored))),
            m.scale.count(Some(sum.folios(Verdict::Freed))),
            m.scale.count(Some(sum.folios(Verdict::Writeback))),
        ]);
        Row {
            key,
            cells,
            detail: sum
                .by_verdict
                .iter()
                .map(|(verdict, tally)| {
                    format!(
                        "{}: {} folios, {}",
                        verdict.name(),
                        wording::count(tally.folios),
                        wording::pages(tally.pages)
                    )
                })
                .collect(),
        }
    });
    Table {
        rows: rows.collect(),
        columns,
        sort: Some(futile),
        empty,
    }
}
