//! Distributions and heat maps, as lines of text.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{
    theme::{Ink, Theme},
    views::value,
};
use crate::model::{
    HistogramReport, Unit,
    history::{Column, POWERS},
    wording,
};

/// The smallest value of a power of two, in its unit's words.
fn label(unit: Unit, power: usize) -> String {
    let raw = if power == 0 { 0 } else { 1u64 << (power - 1) };
    match unit {
        Unit::Seconds => value(unit, raw as f64 / 1e9),
        Unit::References | Unit::Unmaps => value(unit, raw as f64),
    }
}

fn pad(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// A distribution by powers of two, a row each, the smallest first; as many as there is room for.
pub(super) fn distribution(
    h: Option<&HistogramReport>,
    width: usize,
    height: usize,
    theme: Theme,
) -> Vec<Line<'static>> {
    let Some(h) = h.filter(|h| h.count > 0) else {
        return vec![Line::styled("no value yet", theme.style(Ink::Dim))];
    };
    let mut rows = [0u64; 65];
    for &(upper, n) in &h.buckets {
        let row = &mut rows[(64 - h.unit.raw(upper).leading_zeros()) as usize];
        *row = row.saturating_add(n);
    }
    let first = rows.iter().position(|n| *n > 0).unwrap_or(0);
    let last = rows.iter().rposition(|n| *n > 0).unwrap_or(0);
    // More powers of two than lines: several share one.
    let step = (last - first + 1).div_ceil(height.max(1)).max(1);
    let merged: Vec<(usize, u64)> = (first..=last)
        .step_by(step)
        .map(|p| (p, rows[p..(p + step).min(65)].iter().sum()))
        .collect();
    let most = merged.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let labels: Vec<String> = merged
        .iter()
        .map(|(p, _)| format!("from {}", label(h.unit, *p)))
        .collect();
    let wide = labels.iter().map(|l| l.width()).max().unwrap_or(0);
    let count = wording::count(most).width();
    let room = width.saturating_sub(wide + count + 4);
    merged
        .iter()
        .zip(labels)
        .map(|((_, n), label)| {
            Line::from(vec![
                Span::raw(format!(
                    "{}  {}  ",
                    pad(&label, wide),
                    pad(&wording::count(*n), count)
                )),
                Span::styled(
                    theme.bar(*n as f64, most as f64, room),
                    theme.style(Ink::Bar),
                ),
            ])
        })
        .collect()
}

/// A heat map: a column for each look, the newest to the right; a row for each power of two, the
/// largest on top.
pub(super) fn heat_map<'a>(
    columns: &(impl ExactSizeIterator<Item = &'a Column> + Clone),
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
            "nothing was unmapped in vain in these looks",
            theme.style(Ink::Dim),
        )];
    };
    let step = (last - first + 1).div_ceil(height.max(1)).max(1);
    let bands: Vec<usize> = (first..=last).step_by(step).collect();
    let labels: Vec<String> = bands.iter().map(|p| label(unit, *p)).collect();
    let wide = labels.iter().map(|l| l.width()).max().unwrap_or(0);
    let room = width.saturating_sub(wide + 1).max(1);
    let skip = columns.len().saturating_sub(room);
    let of = |c: &Column, p: usize| -> u32 {
        c[p..(p + step).min(POWERS)]
            .iter()
            .fold(0, |a, b| a.saturating_add(*b))
    };
    let most = columns
        .clone()
        .skip(skip)
        .flat_map(|c| bands.iter().map(move |p| of(c, *p)))
        .max()
        .unwrap_or(0);
    bands
        .iter()
        .zip(labels)
        .rev()
        .map(|(p, label)| {
            let cells: String = columns
                .clone()
                .skip(skip)
                .map(|c| theme.heat(of(c, *p), most))
                .collect();
            let shown = columns.len() - skip;
            Line::from(vec![
                Span::raw(format!("{} ", pad(&label, wide))),
                Span::raw(" ".repeat(room.saturating_sub(shown))),
                Span::styled(cells, theme.style(Ink::Bar)),
            ])
        })
        .collect()
}
