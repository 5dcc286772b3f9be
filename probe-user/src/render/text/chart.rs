//! Histograms, drawn.

use unicode_width::UnicodeWidthStr;

use probe_ebpf::hist;

use super::page::{Ink, Page, Span};
use crate::model::{HistogramReport, Number, Unit, wording};

/// Rows of one drawing.
const ROWS: usize = 10;
/// A percentile needs this many values beyond it to mean more than the maximum does.
const BEYOND: u64 = 1;
/// Columns that a bar has at least.
const BAR: usize = 10;

/// Bars of eighths; the first is never drawn for a count of 0.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A row: the values it counts, and how many there are; `None`: a gap of empty rows.
type Row = Option<(String, u64)>;

/// Draws `h` under a heading, if it holds anything.
pub(crate) fn histogram(page: &mut Page, title: &str, note: &str, h: Option<&HistogramReport>) {
    let Some(h) = h.filter(|h| h.count > 0) else {
        return;
    };
    page.heading(title, note);
    let rows = rows(h);
    let label = rows
        .iter()
        .flatten()
        .map(|(l, _)| l.width())
        .max()
        .unwrap_or(0);
    let most = rows.iter().flatten().map(|(_, n)| *n).max().unwrap_or(0);
    let number = wording::count(most).width();
    let room = page
        .style()
        .width
        .saturating_sub(2 + label + 2 + number + 2)
        .max(BAR);
    for row in rows {
        let Some((name, n)) = row else {
            page.line(&[Span::plain(format!("  {:>label$}", "⋮"))]);
            continue;
        };
        let pad = label.saturating_sub(name.width());
        page.line(&[
            Span::plain(format!("  {}{name}  ", " ".repeat(pad))),
            Span::plain(format!("{:>number$}  ", wording::count(n))),
            Span::new(Ink::Bar, bar(n, most, room)),
        ]);
    }
    page.wrapped("  ", "  ", Ink::Plain, &percentiles(h));
}

/// A bar of `n` of `most` in `room` columns.
fn bar(n: u64, most: u64, room: usize) -> String {
    if n == 0 || most == 0 {
        return String::new();
    }
    let eighths = ((n as f64 / most as f64) * (room * 8) as f64)
        .round()
        .max(1.0) as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8 - 1]);
    }
    bar
}

/// A value in words.
fn value(unit: Unit, v: Number) -> String {
    match unit {
        Unit::Seconds => wording::duration(v.0),
        Unit::References | Unit::Unmaps => wording::count(v.0 as u64),
    }
}

/// The percentiles that so many values bear.
fn percentiles(h: &HistogramReport) -> String {
    let mut said = Vec::new();
    for (name, p, part) in [
        ("p50", h.p50, 2),
        ("p90", h.p90, 10),
        ("p99", h.p99, 100),
        ("p99.9", h.p999, 1000),
    ] {
        if let Some(p) = p.filter(|_| h.count / part > BEYOND || part == 2) {
            said.push(format!("{name} {}", value(h.unit, p)));
        }
    }
    if let Some(max) = h.max {
        said.push(format!("max {}", value(h.unit, max)));
    }
    said.join(" · ")
}

fn rows(h: &HistogramReport) -> Vec<Row> {
    let raw: Vec<(u64, u64)> = h
        .buckets
        .iter()
        .map(|(u, n)| (h.unit.raw(*u), *n))
        .collect();
    if h.unit != Unit::Seconds && raw.len() <= ROWS {
        let bound = |v: Option<Number>| v.map(|v| h.unit.raw(v));
        return raw
            .iter()
            .map(|&(upper, n)| {
                let lower = hist::lower(hist::bucket_of(upper)).max(bound(h.min).unwrap_or(0));
                let upper = upper.min(bound(h.max).unwrap_or(upper));
                Some((range(h.unit, lower.min(upper), upper), n))
            })
            .collect();
    }
    let mut step = 1;
    loop {
        let rows = by_powers(h.unit, &raw, step);
        if rows.len() <= ROWS || step >= 64 {
            return rows;
        }
        step += 1;
    }
}

/// Merged to `step` powers of two a row. Of a run of empty rows a gap is left.
fn by_powers(unit: Unit, raw: &[(u64, u64)], step: u32) -> Vec<Row> {
    let row_of = |v: u64| (64 - v.leading_zeros()) / step;
    let mut counts = vec![0u64; 65];
    for &(upper, n) in raw {
        let count = &mut counts[row_of(upper) as usize];
        *count = count.saturating_add(n);
    }
    let (Some(first), Some(last)) = (
        counts.iter().position(|n| *n > 0),
        counts.iter().rposition(|n| *n > 0),
    ) else {
        return Vec::new();
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut index = first;
    while index <= last {
        let empty = counts[index..=last].iter().take_while(|n| **n == 0).count();
        if empty > 1 {
            rows.push(None);
            index += empty;
            continue;
        }
        let bits = index as u32 * step;
        let lower = if bits == 0 {
            0
        } else {
            1u64 << (bits - 1).min(63)
        };
        let upper = 1u64
            .checked_shl(bits + step - 1)
            .map_or(u64::MAX, |v| v - 1);
        rows.push(Some((range(unit, lower, upper), counts[index])));
        index += 1;
    }
    rows
}

/// The values of a row, both bounds included; times to where the next row begins.
fn range(unit: Unit, lower: u64, upper: u64) -> String {
    match unit {
        Unit::Seconds => {
            let say = |ns: u64| wording::duration(ns as f64 / 1e9);
            format!("{} to {}", say(lower), say(upper.saturating_add(1)))
        }
        _ if lower == upper => wording::count(lower),
        _ => format!("{} to {}", wording::count(lower), wording::count(upper)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::histogram::of;

    #[test]
    fn bars_show_what_is_there() {
        assert_eq!(bar(0, 10, 4), "");
        assert_eq!(bar(1, 1_000_000, 4), "▏");
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(5, 10, 4), "██");
    }

    #[test]
    fn rows_are_few_and_lose_nothing() {
        for values in [
            vec![0],
            vec![1, 2, 3],
            (0..63).map(|e| 1 << e).collect(),
            vec![5, 1 << 35],
        ] {
            for unit in [Unit::Seconds, Unit::References] {
                let h = HistogramReport::new(unit, &of(&values));
                let rows = rows(&h);
                assert!(rows.len() <= ROWS, "{rows:?}");
                let shown: u64 = rows.iter().flatten().map(|(_, n)| n).sum();
                assert_eq!(shown, h.count, "{rows:?}");
            }
        }
    }

    #[test]
    fn small_counts_have_rows_of_their_own() {
        let h = HistogramReport::new(Unit::References, &of(&[1, 1, 1024]));
        let rows = rows(&h);
        assert_eq!(
            rows,
            [Some(("1".to_owned(), 2)), Some(("1,024".to_owned(), 1))]
        );
    }
}
