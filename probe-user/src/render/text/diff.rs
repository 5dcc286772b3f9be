//! The comparison that `pinscope diff` prints.

use super::page::{Column, Ink, Page, Span, Style};
use crate::model::{
    Diff,
    compare::{Change, Comparison, Side, noise::Estimate, sentences},
    wording,
};

/// The comparison as text.
pub fn text(diff: &Diff, style: &Style) -> String {
    let mut page = Page::new(*style);
    page.line(&[Span::new(Ink::Bold, "pinscope diff")]);
    side(&mut page, "A", &diff.a);
    side(&mut page, "B", &diff.b);
    page.blank();
    let ink = diff.rates.first().map_or(Ink::Plain, ink);
    page.wrapped("", "", ink, &diff.answer);
    if !diff.unlike.is_empty() {
        page.heading("Caveats", "differences that make the two hard to compare");
        for sentence in &diff.unlike {
            page.wrapped("  ", "    ", Ink::Warn, sentence);
        }
    }
    section(&mut page, "Rates", "", &diff.rates);
    section(&mut page, "Percentiles", "", &diff.percentiles);
    section(
        &mut page,
        "Victims of futile unmaps",
        "by comm and cgroup",
        &diff.victims,
    );
    section(&mut page, "Futile unmaps of", "", &diff.reclaimers);
    section(&mut page, "Notifier calls to", "", &diff.subscribers);
    findings(&mut page, diff);
    page.blank();
    page.wrapped("", "", Ink::Dim, &basis(diff));
    page.finish()
}

fn side(page: &mut Page, letter: &str, side: &Side) {
    let text = format!(
        "{} · {} · Linux {} · {} · {}",
        side.name,
        side.hostname,
        side.kernel,
        side.start,
        wording::span(side.seconds)
    );
    page.wrapped(&format!("  {letter}  "), "     ", Ink::Plain, &text);
}

/// More futile work is bad. The words say so too.
fn ink(row: &Comparison) -> Ink {
    match row.change {
        Change::Rose => Ink::Bad,
        Change::Fell => Ink::Good,
        Change::Same | Change::Unknown => Ink::Plain,
    }
}

fn section(page: &mut Page, title: &str, note: &str, rows: &[Comparison]) {
    if rows.is_empty() {
        return;
    }
    page.heading(title, note);
    let columns = [
        Column::path(""),
        Column::right("A"),
        Column::right("B"),
        Column::right("change"),
        Column::left(""),
    ];
    let rows: Vec<Vec<Span>> = rows.iter().map(cells).collect();
    page.table(&columns, &rows);
}

fn cells(row: &Comparison) -> Vec<Span> {
    let value = |reading: Option<Estimate>| {
        Span::plain(reading.map_or("-".to_owned(), |r| sentences::value(row.unit, r.value)))
    };
    let change = match (row.a, row.b) {
        (Some(a), Some(b)) => sentences::ratio(a, b),
        _ => "-".to_owned(),
    };
    // A rise is not always bad, so rows have no colour; the answer above has.
    let (ink, word) = match row.change {
        Change::Rose => (Ink::Bold, "rose"),
        Change::Fell => (Ink::Bold, "fell"),
        Change::Same => (Ink::Dim, "within the noise"),
        Change::Unknown => (Ink::Dim, "not in both"),
    };
    vec![
        Span::plain(row.name.clone()),
        value(row.a),
        value(row.b),
        Span::new(ink, change),
        Span::new(ink, word),
    ]
}

fn findings(page: &mut Page, diff: &Diff) {
    if diff.findings_gone.is_empty() && diff.findings_new.is_empty() {
        return;
    }
    page.heading("Findings", "");
    for (what, ids) in [
        ("only in A", &diff.findings_gone),
        ("only in B", &diff.findings_new),
    ] {
        if !ids.is_empty() {
            page.wrapped(
                "  ",
                "    ",
                Ink::Plain,
                &format!("{what}: {}", ids.join(", ")),
            );
        }
    }
}

/// The basis of the noise.
fn basis(diff: &Diff) -> String {
    let from = match (diff.a.samples, diff.b.samples) {
        (0, 0) => {
            "neither capture has samples, so the noise assumes independent counts, and bursts make \
             it larger: compare recordings (capture --record) for more certainty"
        }
        (0, _) | (_, 0) => "one of them has no samples and borrows the other's scatter",
        _ => "the noise is estimated from the scatter of their samples",
    };
    format!(
        "\"Within the noise\" means that chance explains the difference in 99.7 % of cases; {from}."
    )
}
