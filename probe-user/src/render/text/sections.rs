//! The sections of the text report.

use super::{
    chart,
    page::{Column, Ink, Page, Span},
};
use crate::model::{
    Capture, Gap, Severity, Who, judge,
    tables::{self, Emphasis, Per, Share, SumBy},
    wording,
};

/// Rows of a table; one line sums up those beyond.
const ROWS: usize = 10;
/// Printed for what is not known.
const UNKNOWN: &str = "-";

/// A count, or a dash where it is not known.
fn number(n: Option<u64>) -> Span {
    Span::plain(n.map_or_else(|| UNKNOWN.to_owned(), wording::count))
}

fn size(pages: Option<u64>) -> Span {
    Span::plain(pages.map_or_else(|| UNKNOWN.to_owned(), wording::pages))
}

fn share(share: Option<Share>) -> Span {
    Span::plain(share.map_or_else(|| UNKNOWN.to_owned(), |s| s.to_string()))
}

fn ink(emphasis: Emphasis) -> Ink {
    match emphasis {
        Emphasis::Absent => Ink::Dim,
        Emphasis::Plain => Ink::Plain,
        Emphasis::Doubtful => Ink::Warn,
        Emphasis::Futile => Ink::Bad,
    }
}

pub(super) fn verdicts(page: &mut Page, capture: &Capture) {
    let Some(total) = capture.unmaps.total.filter(|n| *n > 0) else {
        return;
    };
    page.heading("What became of the unmapped folios", "");
    let rows = tables::verdicts::verdicts(capture);
    let mut rows: Vec<Vec<Span>> = rows
        .iter()
        .map(|row| {
            vec![
                Span::new(ink(row.emphasis), row.verdict.as_str()),
                number(row.total.map(|t| t.folios)),
                share(row.share),
                number(row.total.map(|t| t.pages)),
                size(row.total.map(|t| t.pages)),
                number(row.total.and_then(|t| t.notifier_calls)),
                Span::new(Ink::Dim, row.meaning),
            ]
        })
        .collect();
    rows.push(vec![
        Span::new(Ink::Bold, "all"),
        number(Some(total)),
        Span::plain(""),
        number(capture.unmaps.pages),
        size(capture.unmaps.pages),
        number(capture.notifier.calls),
        Span::plain(""),
    ]);
    page.table(
        &[
            Column::left("verdict"),
            Column::right("folios"),
            Column::right("share"),
            Column::right("pages"),
            Column::right("size"),
            Column::right("notified"),
            Column::note("meaning"),
        ],
        &rows,
    );
}

/// The cells of a process, for the columns pid, comm and cgroup.
fn who(who: &Who) -> [Span; 3] {
    let text = |s: Option<&String>| Span::plain(s.map_or(UNKNOWN, String::as_str));
    let pid = who.pid.map(|pid| pid.to_string());
    [
        text(pid.as_ref()),
        text(who.comm.as_ref()),
        text(who.cgroup.as_ref()),
    ]
}

/// One dim line for the rows that have no room.
fn and_more(page: &mut Page, rows: usize, what: &str) {
    if rows > 0 {
        let text = format!("and {} more{what}", wording::count(rows as u64));
        page.wrapped("  ", "  ", Ink::Dim, &text);
    }
}

pub(super) fn victims(page: &mut Page, capture: &Capture) {
    let rows = tables::victims::victims(capture, Per::Process).unwrap_or_default();
    if rows.is_empty() {
        return;
    }
    page.heading(
        "Victims of futile unmaps",
        "a shared folio counts for each process that mapped it",
    );
    let (shown, more) = tables::ranked(&rows, ROWS);
    let cells: Vec<Vec<Span>> = shown
        .iter()
        .map(|row| {
            let [pid, comm, cgroup] = who(&row.who);
            vec![
                pid,
                comm,
                number(Some(row.mappings)),
                number(Some(row.pages)),
                size(Some(row.pages)),
                cgroup,
            ]
        })
        .collect();
    page.table(
        &[
            Column::right("pid"),
            Column::text("comm"),
            Column::right("mappings"),
            Column::right("pages"),
            Column::right("size"),
            Column::path("cgroup"),
        ],
        &cells,
    );
    let rest = format!(
        ", with {} and {}",
        wording::counted(tables::total(more, |v| v.mappings), "mapping"),
        wording::counted(tables::total(more, |v| v.pages), "page"),
    );
    and_more(page, more.len(), &rest);
}

pub(super) fn reclaimers(page: &mut Page, capture: &Capture) {
    let rows = tables::reclaim::reclaim(capture, SumBy::All).unwrap_or_default();
    if rows.is_empty() {
        return;
    }
    page.heading("Reclaimers and the memory they unmapped", "");
    let (shown, more) = tables::ranked(&rows, ROWS);
    let cells: Vec<Vec<Span>> = shown
        .iter()
        .map(|row| {
            vec![
                Span::plain(row.reclaimer.unwrap_or(UNKNOWN)),
                Span::plain(row.memory.unwrap_or(UNKNOWN)),
                Span::plain(row.order.map_or(UNKNOWN.to_owned(), |o| o.to_string())),
                number(Some(row.all.folios)),
                Span::new(ink(row.emphasis()), wording::count(row.futile.folios)),
                share(Some(row.share())),
                size(Some(row.futile.pages)),
            ]
        })
        .collect();
    page.table(
        &[
            Column::text("reclaimer"),
            Column::text("memory"),
            Column::right("order"),
            Column::right("unmaps"),
            Column::right("futile"),
            Column::right("share"),
            Column::right("futile size"),
        ],
        &cells,
    );
    let rest = format!(
        ", with {}, {} of them futile",
        wording::counted(tables::total(more, |row| row.all.folios), "unmap"),
        wording::count(tables::total(more, |row| row.futile.folios)),
    );
    and_more(page, more.len(), &rest);
}

pub(super) fn distributions(page: &mut Page, capture: &Capture) {
    for distribution in tables::distributions::distributions(capture) {
        chart::draw(page, &distribution);
    }
}

pub(super) fn notifiers(page: &mut Page, capture: &Capture) {
    let n = &capture.notifier;
    let (Some(calls), Some(futile)) = (n.calls.filter(|n| *n > 0), n.in_futile) else {
        return;
    };
    let seconds = n
        .seconds
        .map(|s| format!("; {} in all", wording::duration(s)))
        .unwrap_or_default();
    let note = format!(
        "{}, {} of them in futile unmaps{seconds}",
        wording::counted(calls, "call"),
        wording::count(futile)
    );
    page.heading("MMU notifiers", &note);
    let rows = tables::subscribers::subscribers(capture).unwrap_or_default();
    if rows.is_empty() {
        return;
    }
    let (shown, more) = tables::ranked(&rows, ROWS);
    let cells: Vec<Vec<Span>> = shown
        .iter()
        .map(|row| {
            let bound = if row.is_bound() { "at most " } else { "" };
            vec![
                Span::plain(row.symbol),
                number(Some(row.calls)),
                Span::plain(format!("{bound}{}", wording::duration(row.seconds))),
                Span::plain(row.per_call.map_or(UNKNOWN.to_owned(), wording::duration)),
            ]
        })
        .collect();
    page.table(
        &[
            Column::text("subscriber"),
            Column::right("calls"),
            Column::right("time"),
            Column::right("per call"),
        ],
        &cells,
    );
    and_more(page, more.len(), "");
    if rows.iter().any(tables::SubscriberRow::is_bound) {
        page.wrapped("  ", "  ", Ink::Dim, tables::subscribers::BOUND);
    }
}

pub(super) fn findings(page: &mut Page, capture: &Capture) {
    if capture.findings.is_empty() {
        return;
    }
    page.heading("Findings", "");
    for finding in &capture.findings {
        let ink = match finding.severity {
            Severity::Critical => Ink::Bad,
            Severity::Warning => Ink::Warn,
            Severity::Info => Ink::Dim,
        };
        page.line(&[
            Span::plain("  "),
            Span::new(ink, format!("{:<8}", finding.severity.name())),
            Span::plain("  "),
            Span::new(Ink::Bold, finding.id.as_str()),
        ]);
        page.wrapped("    ", "    ", Ink::Plain, &finding.text);
        page.wrapped("    → ", "      ", Ink::Plain, &finding.advice);
    }
}

pub(super) fn gaps(page: &mut Page, capture: &Capture) {
    let mut list = |title: &str, gaps: &[Gap]| {
        if gaps.is_empty() {
            return;
        }
        page.heading(title, "");
        for gap in gaps {
            page.wrapped("  ", "  ", Ink::Plain, &gap.what);
            page.wrapped("    ", "    ", Ink::Dim, &gap.why);
        }
    };
    list("Not measured", &capture.not_measured);
    list("On weaker evidence", &capture.weaker);
}

pub(super) fn reliability(page: &mut Page, capture: &Capture) {
    page.heading("Reliability", "");
    for text in judge::reliability(capture) {
        page.wrapped("  ", "  ", Ink::Plain, &text);
    }
}
