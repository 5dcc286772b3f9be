//! Charts as inline SVG. Each has a title and a description; tables give the numbers too.

use maud::{Markup, html};

use crate::model::{
    HistogramReport, Interval,
    tables::{
        BinRow, Share,
        bins::{ROWS, bins},
        distributions::{percentiles, value},
    },
    wording,
};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 150.0;
/// Room for the numbers of the axes.
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 16.0;

/// A share as a bar, at most 100 units wide.
pub(super) fn share(share: Share, bad: bool) -> Markup {
    let width = 100.0 * share.ratio().unwrap_or(0.0);
    html! {
        svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img" style="width:8rem;height:.7rem" {
            title { (share) }
            rect class="axis" x="0" y="7.6" width="100" height=".4" {}
            rect class=(if bad { "bar2" } else { "bar" }) x="0" y="0" height="8" width=(px(width)) {}
        }
    }
}

/// A histogram with the bins of every renderer, and its percentiles marked.
pub(super) fn histogram(h: &HistogramReport) -> Markup {
    let rows = bins(h, ROWS);
    let counts = || rows.iter().filter_map(BinRow::bin).map(|bin| bin.count);
    let most = counts().max().unwrap_or(0).max(1);
    let (room, tall) = (WIDTH - LEFT, HEIGHT - TOP - BOTTOM);
    let step = room / rows.len().max(1) as f64;
    let bar = |n: u64| {
        // A small part must stay visible.
        let share = n as f64 / most as f64 * tall;
        if n > 0 { share.max(1.0) } else { 0.0 }
    };
    let labels = rows.len().div_ceil(6).max(1);
    let marks = marks(h, |raw| LEFT + place(&rows, raw) * step);
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" {
            title { "Distribution" }
            desc { (describe(h)) }
            line class="axis" x1=(LEFT) x2=(WIDTH) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
            text x=(LEFT - 6.0) y=(TOP + 4.0) text-anchor="end" { (short(most as f64)) }
            text x=(LEFT - 6.0) y=(HEIGHT - BOTTOM) text-anchor="end" { "0" }
            @for (i, row) in rows.iter().enumerate() {
                @let x = LEFT + i as f64 * step;
                @match row {
                    BinRow::Bin(bin) => {
                        @let height = bar(bin.count);
                        rect class="bar" x=(px(x + step * 0.06)) width=(px(step * 0.88))
                            y=(px(HEIGHT - BOTTOM - height)) height=(px(height)) {
                            title { (bin.range(h.unit)) ": " (wording::count(bin.count)) }
                        }
                        @if i % labels == 0 {
                            text x=(px(x)) y=(HEIGHT - 7.0) { (bin.from(h.unit)) }
                        }
                    }
                    BinRow::Gap => {
                        text x=(px(x + step / 2.0)) y=(HEIGHT - BOTTOM - 3.0)
                            text-anchor="middle" { "…" }
                    }
                }
            }
            @for (x, name) in &marks {
                line class="tick" x1=(px(*x)) x2=(px(*x)) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                text class="mark" x=(px(*x)) y="11" text-anchor=(anchor(*x)) { (name) }
            }
        }
    }
}

/// Where a value lies among the rows, in rows from the left. Within a bin, values are spread
/// evenly over its logarithm.
fn place(rows: &[BinRow], raw: u64) -> f64 {
    let log = |v: u64| (v.max(1) as f64).log2();
    for (i, bin) in rows
        .iter()
        .enumerate()
        .filter_map(|(i, row)| Some((i, row.bin()?)))
    {
        if raw <= bin.upper {
            let (from, to) = (log(bin.lower), log(bin.upper.saturating_add(1)));
            let within = if bin.lower == bin.upper {
                0.5
            } else {
                ((log(raw) - from) / (to - from).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
            };
            return i as f64 + within;
        }
    }
    rows.len() as f64
}

/// The places and names of the percentiles; those that would overlap share a mark.
fn marks(h: &HistogramReport, place: impl Fn(u64) -> f64) -> Vec<(f64, String)> {
    const APART: f64 = 30.0;
    let mut marks: Vec<(f64, String)> = Vec::new();
    let wanted = percentiles(h).into_iter();
    for (name, at) in wanted.filter(|(name, _)| ["p50", "p99", "max"].contains(name)) {
        let Some(x) = at.map(|at| place(h.unit.raw(at))) else {
            continue;
        };
        match marks.last_mut().filter(|(last, _)| x - last < APART) {
            Some((_, names)) => {
                names.push_str(", ");
                names.push_str(name);
            }
            None => marks.push((x, name.to_owned())),
        }
    }
    marks
}

fn anchor(x: f64) -> &'static str {
    if x > WIDTH - 50.0 {
        "end"
    } else if x < LEFT + 50.0 {
        "start"
    } else {
        "middle"
    }
}

/// Two lines of rates over time, the second one dashed.
pub(super) fn lines(
    timeline: &[Interval],
    names: [&str; 2],
    of: impl Fn(&Interval) -> [Option<f64>; 2],
) -> Markup {
    let points: Vec<(f64, [Option<f64>; 2])> =
        timeline.iter().map(|i| (i.elapsed, of(i))).collect();
    let end = points.last().map_or(1.0, |p| p.0).max(1e-3);
    let most = points
        .iter()
        .flat_map(|(_, v)| v.iter().flatten())
        .copied()
        .fold(0.0, f64::max);
    let scale = if most > 0.0 { most } else { 1.0 };
    let x = |t: f64| LEFT + t / end * (WIDTH - LEFT - 6.0);
    let y = |v: f64| HEIGHT - BOTTOM - v / scale * (HEIGHT - TOP - BOTTOM);
    let path = |which: usize| {
        let mut path = String::new();
        let mut drawing = false;
        for (t, values) in &points {
            match values[which] {
                Some(v) => {
                    let verb = if drawing { 'L' } else { 'M' };
                    path.push_str(&format!("{verb}{:.1} {:.1} ", x(*t), y(v)));
                    drawing = true;
                }
                // A rate that was not measured is a gap in the line.
                None => drawing = false,
            }
        }
        path
    };
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" {
            title { (names[0]) " and " (names[1]) " over time" }
            desc { "At most " (short(most)) " per second, over " (wording::span(end)) "." }
            line class="axis" x1=(LEFT) x2=(WIDTH) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
            text x=(LEFT - 6.0) y=(TOP + 4.0) text-anchor="end" { (short(most)) }
            text x=(LEFT - 6.0) y=(HEIGHT - BOTTOM) text-anchor="end" { "0" }
            text x=(LEFT) y=(HEIGHT - 7.0) { "0 s" }
            text x=(WIDTH - 6.0) y=(HEIGHT - 7.0) text-anchor="end" { (wording::span(end)) }
            path class="line" d=(path(0)) {}
            path class="line2" d=(path(1)) {}
            text class="mark" x=(LEFT + 8.0) y="11" { "— " (names[0]) "   - - " (names[1]) }
        }
    }
}

fn describe(h: &HistogramReport) -> String {
    let known = percentiles(h)
        .into_iter()
        .filter_map(|(name, v)| Some(format!("{name} {}", value(h.unit, v?))));
    let known: Vec<String> = known.collect();
    format!("{} values: {}", wording::count(h.count), known.join(", "))
}

/// A number in about four characters.
fn short(v: f64) -> String {
    match v {
        v if v >= 1e9 => format!("{:.1}G", v / 1e9),
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        v if v >= 1e3 => format!("{:.1}k", v / 1e3),
        v if v >= 10.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

/// A length on the page, to a tenth.
fn px(v: f64) -> String {
    format!("{v:.1}")
}
