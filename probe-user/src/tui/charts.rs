//! Distributions and heat maps, as lines of text.

use std::ops::Range;

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{
    theme::{Ink, Theme},
    width::padded,
};
use crate::model::{
    HistogramReport, Unit,
    history::{Column, POWERS},
    tables::{Bin, BinRow, bins},
    wording,
};

/// A distribution: a line for each bin, the smallest values first, in at most `height` lines.
pub(super) fn distribution(
    h: Option<&HistogramReport>,
    width: usize,
    height: usize,
    theme: Theme,
) -> Vec<Line<'static>> {
    let Some(h) = h.filter(|h| h.count > 0) else {
        return vec![Line::styled("no value yet", theme.style(Ink::Dim))];
    };
    let rows = bins::bins(h, height);
    let most = rows.iter().filter_map(BinRow::bin).map(|b| b.count).max();
    let most = most.unwrap_or(0);
    let label = |bin: &Bin| match h.unit {
        Unit::Seconds => format!("from {}", bin.from(h.unit)),
        Unit::References | Unit::Unmaps => bin.range(h.unit),
    };
    let labels: Vec<String> = rows
        .iter()
        .map(|row| row.bin().map_or_else(String::new, label))
        .collect();
    let wide = labels.iter().map(|l| l.width()).max().unwrap_or(0);
    let count = wording::count(most).width();
    let room = width.saturating_sub(wide + count + 4);
    rows.iter()
        .zip(labels)
        .map(|(row, label)| {
            let Some(bin) = row.bin() else {
                let gap = if theme.ascii { "..." } else { "…" };
                return Line::styled(padded(gap, wide), theme.style(Ink::Dim));
            };
            Line::from(vec![
                Span::raw(format!(
                    "{}  {}  ",
                    padded(&label, wide),
                    padded(&wording::count(bin.count), count)
                )),
                theme.ink(Ink::Bar, theme.bar(bin.count as f64, most as f64, room)),
            ])
        })
        .collect()
}

/// A heat map: a column for each sample, the newest on the right; a row for each band of values,
/// the largest on top. `h` is the distribution beside it, whose edges the bands keep.
pub(super) fn heat_map<'a>(
    columns: &(impl ExactSizeIterator<Item = &'a Column> + Clone),
    h: Option<&HistogramReport>,
    unit: Unit,
    width: usize,
    height: usize,
    theme: Theme,
) -> Vec<Line<'static>> {
    let used = |p: usize| columns.clone().any(|c| c[p] > 0);
    let (Some(first), Some(last)) = (
        (0..POWERS).find(|p| used(*p)),
        (0..POWERS).rfind(|p| used(*p)),
    ) else {
        return vec![Line::styled(
            "no futile unmaps in these samples",
            theme.style(Ink::Dim),
        )];
    };
    let bands = bins::bands(h, first..=last, height);
    let labels: Vec<String> = bands
        .iter()
        .map(|band| bins::raw(unit, bins::lowest(band.start)))
        .collect();
    let wide = labels.iter().map(|l| l.width()).max().unwrap_or(0);
    let room = width.saturating_sub(wide + 1).max(1);
    let skip = columns.len().saturating_sub(room);
    let of = |c: &Column, band: &Range<usize>| -> u32 {
        c[band.start..band.end.min(POWERS)]
            .iter()
            .fold(0, |a, b| a.saturating_add(*b))
    };
    let most = columns
        .clone()
        .skip(skip)
        .flat_map(|c| bands.iter().map(move |band| of(c, band)))
        .max()
        .unwrap_or(0);
    bands
        .iter()
        .zip(labels)
        .rev()
        .map(|(band, label)| {
            let cells: String = columns
                .clone()
                .skip(skip)
                .map(|c| theme.heat(of(c, band), most))
                .collect();
            let shown = columns.len() - skip;
            Line::from(vec![
                Span::raw(format!("{} ", padded(&label, wide))),
                Span::raw(" ".repeat(room.saturating_sub(shown))),
                theme.ink(Ink::Bar, cells),
            ])
        })
        .collect()
}
