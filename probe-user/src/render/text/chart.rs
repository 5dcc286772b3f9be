//! Histograms as rows of bars.

use unicode_width::UnicodeWidthStr;

use super::page::{Ink, Page, Span};
use crate::model::{
    HistogramReport,
    tables::{
        Distribution,
        bins::{ROWS, bins},
        distributions::{percentiles, value},
    },
    wording,
};

/// The least width of the longest bar, in columns.
const BAR: usize = 10;

/// Bars of one to eight eighths of a column.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// Draws a distribution under its heading, if it holds any value.
pub(super) fn draw(page: &mut Page, distribution: &Distribution<'_>) {
    let Some(h) = distribution.filled() else {
        return;
    };
    page.heading(distribution.title, &distribution.note);
    let rows: Vec<Option<(String, u64)>> = bins(h, ROWS)
        .iter()
        .map(|row| row.bin().map(|bin| (bin.range(h.unit), bin.count)))
        .collect();
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
    page.wrapped("  ", "  ", Ink::Plain, &summary(h));
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

/// `p50 7.04 µs · max 33.3 ms`: the percentiles that the number of values supports.
fn summary(h: &HistogramReport) -> String {
    let known = percentiles(h)
        .into_iter()
        .filter_map(|(name, v)| Some(format!("{name} {}", value(h.unit, v?))));
    known.collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_small_parts() {
        assert_eq!(bar(0, 10, 4), "");
        assert_eq!(bar(1, 1_000_000, 4), "▏");
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(5, 10, 4), "██");
    }
}
