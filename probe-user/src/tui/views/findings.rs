//! Findings: what the counts mean, and advice.

use super::view::{Detail, Material, View};
use crate::{
    model::Severity,
    tui::{
        table::{Cell, Row, Table, text},
        theme::Ink,
    },
};

pub(in crate::tui) static VIEW: View = View {
    name: "findings",
    short: "find",
    help: "findings: what it means, and advice",
    table,
    title: 1,
    detail: Detail::Row,
    keys: &[],
};

fn table(m: &Material) -> Table {
    let rows = m.capture.findings.iter().map(|f| {
        let ink = match f.severity {
            Severity::Critical => Ink::Bad,
            Severity::Warning => Ink::Warn,
            Severity::Info => Ink::Dim,
        };
        Row {
            key: f.id.clone(),
            cells: vec![
                Cell::text(f.severity.name()).ink(ink),
                Cell::text(f.id.as_str()).ink(Ink::Bold),
                Cell::text(f.text.as_str()),
            ],
            detail: vec![f.text.clone(), format!("→ {}", f.advice)],
        }
    });
    Table {
        rows: rows.collect(),
        columns: vec![
            text("severity", 0),
            text("finding", 0),
            text("observation", 1),
        ],
        sort: None,
        empty: "nothing to report".into(),
    }
}
