//! The views that aren't about groups: subscribers, histograms, events, hooks, findings.

use super::{Material, or_dash, why_unknown};
use crate::{
    model::{Capture, HistogramReport, Severity, Unit, wording},
    snapshot::HookState,
    tui::{
        table::{Cell, Row, Table, right, text},
        theme::Ink,
    },
};

pub(in crate::tui) fn subscribers(m: &Material) -> Table {
    let rows = m
        .capture
        .subscribers
        .iter()
        .flatten()
        .map(|s| {
            let mut detail = vec![format!(
                "{} in all, {} a call",
                wording::duration(s.seconds),
                wording::duration(s.seconds / s.calls.max(1) as f64)
            )];
            if s.shared_calls > 0 {
                detail.push(format!(
                    "other subscribers took part in {} of the calls, and their time counts here too",
                    wording::count(s.shared_calls)
                ));
            }
            Row {
                key: s.symbol.clone(),
                cells: vec![
                    Cell::text(s.symbol.as_str()),
                    m.scale.count(Some(s.calls)),
                    m.scale.seconds(Some(s.seconds)).ink(Ink::Warn),
                    Cell::number(
                        (s.calls > 0).then(|| s.seconds / s.calls.max(1) as f64),
                        wording::duration,
                    ),
                    m.scale.count(Some(s.shared_calls)),
                ],
                detail,
            }
        })
        .collect();
    Table {
        columns: vec![
            text("subscriber", 0),
            right(m.scale.title("calls", "calls/s"), 0),
            right(m.scale.title("time", "time/s"), 0),
            right("a call", 1),
            right(m.scale.title("shared", "shared/s"), 2),
        ],
        rows,
        sort: Some(2),
        empty: match m.capture.subscribers {
            None => "MMU notifiers aren't measured here: see hooks (8)".into(),
            Some(_) => "no unmap called an MMU notifier".into(),
        },
    }
}

/// The histograms by the names of the view's rows.
pub(in crate::tui) fn histogram_of<'a>(
    capture: &'a Capture,
    key: &str,
) -> Option<&'a HistogramReport> {
    let h = &capture.histograms;
    match key {
        "unmap time" => h.unmap_seconds.as_ref(),
        "notifier time" => h.notifier_seconds.as_ref(),
        "excess references" => h.excess_references.as_ref(),
        "unmaps of one folio" => h.unmaps_per_folio.as_ref(),
        _ => None,
    }
}

/// A histogram's value in words.
pub(in crate::tui) fn value(unit: Unit, v: f64) -> String {
    match unit {
        Unit::Seconds => wording::duration(v),
        Unit::References | Unit::Unmaps => wording::count(v as u64),
    }
}

pub(in crate::tui) fn histograms(m: &Material) -> Table {
    let rows = [
        "unmap time",
        "notifier time",
        "excess references",
        "unmaps of one folio",
    ]
    .into_iter()
    .map(|name| {
        let h = histogram_of(m.capture, name);
        let mut cells = vec![
            Cell::text(name),
            Cell::number(h.map(|h| h.count as f64), |n| wording::count(n as u64)),
        ];
        for pick in [
            |h: &HistogramReport| h.p50,
            |h: &HistogramReport| h.p90,
            |h: &HistogramReport| h.p99,
            |h: &HistogramReport| h.p999,
            |h: &HistogramReport| h.max,
        ] {
            let unit = h.map_or(Unit::Unmaps, |h| h.unit);
            cells.push(Cell::number(h.and_then(pick).map(|n| n.0), |v| {
                value(unit, v)
            }));
        }
        Row {
            key: name.into(),
            cells,
            detail: why_unknown(m, h.is_none()),
        }
    })
    .collect();
    Table {
        columns: vec![
            text("of futile unmaps", 0),
            right("values", 1),
            right("p50", 0),
            right("p90", 2),
            right("p99", 0),
            right("p99.9", 3),
            right("max", 1),
        ],
        rows,
        sort: None,
        empty: String::new(),
    }
}

pub(in crate::tui) fn events(m: &Material) -> Table {
    let rows = m
        .events
        .iter()
        .enumerate()
        .map(|(i, e)| {
            let victim = e.victim.as_ref();
            let name = victim.map(|v| format!("{} ({})", v.comm, v.pid));
            Row {
                key: format!("{:.9} {i}", e.elapsed),
                cells: vec![
                    Cell::number(Some(e.elapsed), |s| format!("{s:.3}")),
                    Cell::text(e.verdict.as_str().trim_start_matches("futile_")).ink(Ink::Bad),
                    or_dash(name.as_ref()),
                    Cell::text(e.memory.as_str()),
                    Cell::text(format!("{} ({})", e.reclaimer_comm, e.reclaimer)),
                    Cell::number(Some(e.unmap_ns as f64 / 1e9), wording::duration),
                    Cell::number(Some(e.excess as f64), |n| wording::count(n as u64)),
                    Cell::number(e.times.map(f64::from), |n| wording::count(n as u64)),
                ],
                detail: vec![
                    format!(
                        "order {}, {} references, {} of them more than reclaim accounts for",
                        e.order,
                        wording::count(e.refcount.into()),
                        e.excess
                    ),
                    format!(
                        "{} mapping(s) removed; last at {}; cgroup {}",
                        e.mappings,
                        e.address.map_or("-".into(), |a| format!("{a:#x}")),
                        victim.and_then(|v| v.cgroup.as_deref()).unwrap_or("-"),
                    ),
                    format!(
                        "notifier: {} call(s), {}; reclaimer tid {}",
                        e.notifier_calls.map_or("-".into(), |n| n.to_string()),
                        e.notifier_ns
                            .map_or("-".into(), |n| wording::duration(n as f64 / 1e9)),
                        e.reclaimer_tid
                    ),
                ],
            }
        })
        .collect();
    Table {
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
        rows,
        sort: None,
        empty:
            "no futile unmap was carried out singly so far (a sample: 20 for each CPU and second)"
                .into(),
    }
}

pub(in crate::tui) fn hooks(m: &Material) -> Table {
    let rows = m
        .capture
        .hooks
        .iter()
        .map(|h| {
            let (mark, ink) = match h.state {
                HookState::Active => ("active", Ink::Good),
                HookState::Unsupported => ("unsupported", Ink::Warn),
                HookState::Disabled => ("disabled", Ink::Dim),
                HookState::Failed => ("FAILED", Ink::Bad),
            };
            let missed = m.scale.count(h.missed);
            let missed = match h.missed {
                Some(n) if n > 0 => missed.ink(Ink::Warn),
                _ => missed,
            };
            Row {
                key: h.name.clone(),
                cells: vec![
                    Cell::text(h.name.as_str()),
                    Cell::text(mark).ink(ink),
                    h.attach.map_or_else(
                        || Cell::number(None, |_| String::new()),
                        |a| Cell::text(a.name()),
                    ),
                    m.scale.count(h.hits),
                    missed,
                    Cell::text(h.symbol.as_str()),
                ],
                detail: h.reason.iter().cloned().collect(),
            }
        })
        .collect();
    Table {
        columns: vec![
            text("hook", 0),
            text("state", 0),
            text("attached by", 2),
            right(m.scale.title("hits", "hits/s"), 1),
            right(m.scale.title("missed", "missed/s"), 1),
            text("symbol", 3),
        ],
        rows,
        sort: None,
        empty: String::new(),
    }
}

pub(in crate::tui) fn findings(m: &Material) -> Table {
    let rows = m
        .capture
        .findings
        .iter()
        .map(|f| {
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
        })
        .collect();
    Table {
        columns: vec![
            text("severity", 0),
            text("finding", 0),
            text("what was seen", 1),
        ],
        rows,
        sort: None,
        empty: "nothing to report".into(),
    }
}
