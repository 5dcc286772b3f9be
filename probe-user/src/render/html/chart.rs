//! Charts as inline SVG. Each has a title and a description; the numbers stand in tables too.

use maud::{Markup, html};
use probe_ebpf::hist;

use crate::model::{HistogramReport, Interval, Unit, wording};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 150.0;
/// Room for the numbers of the axes.
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 16.0;

/// A share as a bar, at most 100 units wide.
pub(super) fn share(part: u64, whole: u64, bad: bool) -> Markup {
    let width = if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    };
    html! {
        svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img" style="width:8rem;height:.7rem" {
            title { (wording::share(part, whole)) }
            rect class="axis" x="0" y="7.6" width="100" height=".4" {}
            rect class=(if bad { "bar2" } else { "bar" }) x="0" y="0" height="8" width=(px(width)) {}
        }
    }
}

/// A histogram by powers of two, with its percentiles marked.
pub(super) fn histogram(h: &HistogramReport) -> Markup {
    let mut rows = [0u64; 65];
    for &(upper, n) in &h.buckets {
        let row = &mut rows[(64 - h.unit.raw(upper).leading_zeros()) as usize];
        *row = row.saturating_add(n);
    }
    let first = rows.iter().position(|n| *n > 0).unwrap_or(0);
    let last = rows.iter().rposition(|n| *n > 0).unwrap_or(0);
    let most = rows.iter().copied().max().unwrap_or(0).max(1);
    let columns = (last - first + 1) as f64;
    let (room, tall) = (WIDTH - LEFT, HEIGHT - TOP - BOTTOM);
    let step = room / columns;
    let bar = |n: u64| {
        // What is there is seen, however small.
        let share = n as f64 / most as f64 * tall;
        if n > 0 { share.max(1.0) } else { 0.0 }
    };
    // Values lie evenly within a power of two, drawn on a logarithmic axis.
    let place = |raw: u64| {
        let v = raw.max(1) as f64;
        LEFT + ((v.log2() + 1.0 - first as f64).clamp(0.0, columns)) * step
    };
    let labels = (columns as usize).div_ceil(6).max(1);
    let marks = marks(h, place);
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" {
            title { "Distribution" }
            desc { (describe(h)) }
            line class="axis" x1=(LEFT) x2=(WIDTH) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
            text x=(LEFT - 6.0) y=(TOP + 4.0) text-anchor="end" { (short(most as f64)) }
            text x=(LEFT - 6.0) y=(HEIGHT - BOTTOM) text-anchor="end" { "0" }
            @for row in first..=last {
                @let x = LEFT + (row - first) as f64 * step;
                @let height = bar(rows[row]);
                rect class="bar" x=(px(x + step * 0.06)) width=(px(step * 0.88))
                    y=(px(HEIGHT - BOTTOM - height)) height=(px(height)) {
                    title { (range(h.unit, row)) ": " (wording::count(rows[row])) }
                }
                @if (row - first) % labels == 0 {
                    text x=(px(x)) y=(HEIGHT - 7.0) { (value(h.unit, lower(row))) }
                }
            }
            @for (x, name) in &marks {
                line class="tick" x1=(px(*x)) x2=(px(*x)) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                text class="mark" x=(px(*x)) y="11" text-anchor=(anchor(*x)) { (name) }
            }
        }
    }
}

/// Where the percentiles stand, and their names; those that would lie on one another share a mark.
fn marks(h: &HistogramReport, place: impl Fn(u64) -> f64) -> Vec<(f64, String)> {
    const APART: f64 = 30.0;
    let mut marks: Vec<(f64, String)> = Vec::new();
    for (name, at) in [("p50", h.p50), ("p99", h.p99), ("max", h.max)] {
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

/// What happened over time: two lines of rates, the second dashed.
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
                // What wasn't measured is a gap in the line.
                None => drawing = false,
            }
        }
        path
    };
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" {
            title { (names[0]) " and " (names[1]) " over time" }
            desc { "The most is " (short(most)) " a second, over " (wording::span(end)) "." }
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
    let say = |v: Option<crate::model::Number>| {
        v.map_or_else(|| "-".to_owned(), |v| value(h.unit, h.unit.raw(v)))
    };
    format!(
        "{} values; p50 {}, p90 {}, p99 {}, p99.9 {}, largest {}",
        wording::count(h.count),
        say(h.p50),
        say(h.p90),
        say(h.p99),
        say(h.p999),
        say(h.max),
    )
}

/// The smallest value of a row of one power of two.
fn lower(row: usize) -> u64 {
    if row == 0 { 0 } else { 1 << (row - 1).min(63) }
}

fn range(unit: Unit, row: usize) -> String {
    let upper = 1u64.checked_shl(row as u32).map_or(u64::MAX, |v| v - 1);
    if lower(row) == upper {
        value(unit, upper)
    } else {
        format!("{} to {}", value(unit, lower(row)), value(unit, upper))
    }
}

/// A raw value in words.
pub(super) fn value(unit: Unit, raw: u64) -> String {
    match unit {
        Unit::Seconds if raw >= hist::lower(hist::BUCKETS - 1) => {
            format!("{}+", wording::duration(raw as f64 / 1e9))
        }
        Unit::Seconds => wording::duration(raw as f64 / 1e9),
        Unit::References | Unit::Unmaps => wording::count(raw),
    }
}

/// A number in four characters or so.
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
