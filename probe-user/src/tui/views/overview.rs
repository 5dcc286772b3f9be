//! Overview: what became of the unmapped folios, with the answer and the findings.

use super::{
    format::{ink, share},
    hooks,
    view::{Detail, Material, View},
};
use crate::{
    model::{Severity, tables::verdicts::verdicts},
    tui::{
        table::{Cell, Row, Table, right, text},
        theme::Ink,
    },
};

pub(super) static VIEW: View = View {
    name: "overview",
    short: "over",
    help: "overview: unmaps by verdict, and findings",
    table,
    title: 0,
    detail: Detail::Lines(answer_and_findings),
    keys: &[],
};

fn table(m: &Material) -> Table {
    let rows = verdicts(m.capture).into_iter().map(|row| {
        let total = row.total;
        Row {
            key: row.verdict.as_str().into(),
            cells: vec![
                Cell::text(row.verdict.as_str()).ink(ink(row.emphasis)),
                m.scale.count(total.map(|t| t.folios)),
                share(row.share),
                m.scale.count(total.map(|t| t.pages)),
                m.scale.bytes(total.map(|t| t.pages)),
                m.scale.count(total.and_then(|t| t.notifier_calls)),
                Cell::text(row.meaning).ink(Ink::Dim),
            ],
            detail: m.why_unknown(total.is_none()),
        }
    });
    Table {
        rows: rows.collect(),
        columns: vec![
            text("verdict", 0),
            right(m.scale.title("folios", "folios/s"), 0),
            right("share", 1),
            right(m.scale.title("pages", "pages/s"), 3),
            right(m.scale.title("size", "size/s"), 2),
            right(m.scale.title("notified", "notified/s"), 1),
            text("meaning", 4),
        ],
        sort: None,
        empty: format!("unmaps are not measured here: see {}", m.see(&hooks::VIEW)),
    }
}

fn answer_and_findings(m: &Material, row: &Row) -> Vec<String> {
    let serious = m
        .totals
        .findings
        .iter()
        .filter(|f| f.severity != Severity::Info);
    let mut lines = vec![m.totals.answer.text.clone()];
    lines.extend(row.detail.iter().cloned());
    lines.extend(serious.map(|f| format!("{}: {}", f.severity.name(), f.text)));
    lines
}
