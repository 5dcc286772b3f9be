//! Hooks: what is measured, how it is attached, and what it missed.

use super::view::{Detail, Material, View};
use crate::{
    snapshot::HookState,
    tui::{
        table::{Cell, Row, Table, right, text},
        theme::Ink,
    },
};

pub(super) static VIEW: View = View {
    name: "hooks",
    short: "hook",
    help: "hooks: what is measured, and how",
    table,
    title: 0,
    detail: Detail::Row,
    keys: &[],
};

fn table(m: &Material) -> Table {
    let rows = m.capture.hooks.iter().map(|h| {
        let (state, ink) = match h.state {
            HookState::Active => ("active", Ink::Good),
            HookState::Unsupported => ("unsupported", Ink::Warn),
            HookState::Disabled => ("disabled", Ink::Dim),
            HookState::Failed => ("FAILED", Ink::Bad),
        };
        let missed = m.scale.count(h.missed);
        Row {
            key: h.name.clone(),
            cells: vec![
                Cell::text(h.name.as_str()),
                Cell::text(state).ink(ink),
                Cell::known(h.attach.map(|a| a.name())),
                m.scale.count(h.hits),
                match h.missed {
                    Some(n) if n > 0 => missed.ink(Ink::Warn),
                    _ => missed,
                },
                Cell::text(h.symbol.as_str()),
            ],
            detail: h.reason.iter().cloned().collect(),
        }
    });
    Table {
        rows: rows.collect(),
        columns: vec![
            text("hook", 0),
            text("state", 0),
            text("attach mode", 2),
            right(m.scale.title("hits", "hits/s"), 1),
            right(m.scale.title("missed", "missed/s"), 1),
            text("symbol", 3),
        ],
        sort: None,
        empty: String::new(),
    }
}
