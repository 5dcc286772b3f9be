//! Subscribers: who listens to MMU notifiers, and what their calls cost.

use super::{
    hooks,
    view::{Detail, Material, View},
};
use crate::{
    model::{
        tables::{SubscriberRow, subscribers::subscribers},
        wording,
    },
    tui::{
        table::{Cell, Row, Table, right, text},
        theme::Ink,
    },
};

pub(super) static VIEW: View = View {
    name: "subscribers",
    short: "subs",
    help: "subscribers: who listens to MMU notifiers",
    table,
    title: 0,
    detail: Detail::Row,
    keys: &[],
};

fn table(m: &Material) -> Table {
    let subscribers = subscribers(m.capture);
    let empty = match subscribers {
        None => format!(
            "MMU notifiers are not measured here: see {}",
            m.see(&hooks::VIEW)
        ),
        Some(_) => "no unmap called an MMU notifier".into(),
    };
    let rows = subscribers.unwrap_or_default().into_iter().map(|s| Row {
        key: s.symbol.to_owned(),
        cells: vec![
            Cell::text(s.symbol),
            m.scale.count(Some(s.calls)),
            m.scale.seconds(Some(s.seconds)).ink(Ink::Warn),
            Cell::number(s.per_call, wording::duration),
            m.scale.count(Some(s.shared_calls)),
        ],
        detail: detail(&s),
    });
    Table {
        rows: rows.collect(),
        columns: vec![
            text("subscriber", 0),
            right(m.scale.title("calls", "calls/s"), 0),
            right(m.scale.title("time", "time/s"), 0),
            right("per call", 1),
            right(m.scale.title("shared", "shared/s"), 2),
        ],
        sort: Some(2),
        empty,
    }
}

fn detail(s: &SubscriberRow) -> Vec<String> {
    let mut lines = vec![format!(
        "{} in total, {} per call",
        wording::duration(s.seconds),
        wording::duration(s.per_call.unwrap_or(s.seconds))
    )];
    if s.is_bound() {
        lines.push(format!(
            "other subscribers took part in {} of the calls, and their time counts here too",
            wording::count(s.shared_calls)
        ));
    }
    lines
}
