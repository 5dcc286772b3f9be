//! Histograms: percentiles of each, and the selected one as a chart, with its last minutes as a
//! heat map where the history has them.

use ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph};

use super::view::{Detail, Material, View};
use crate::{
    model::{
        HistogramReport, History, Unit,
        history::{Column, Point},
        tables::distributions::{distributions, percentiles, value},
        wording,
    },
    tui::{
        charts,
        table::{Cell, Row, Table, right, text},
        theme::{Ink, Theme},
    },
};

pub(super) static VIEW: View = View {
    name: "histograms",
    short: "hist",
    help: "histograms: distributions and heat maps",
    table,
    title: 0,
    detail: Detail::Drawing(charts),
    keys: &[],
};

fn table(m: &Material) -> Table {
    let rows = distributions(m.capture).map(|d| {
        let mut cells = vec![
            Cell::text(d.name),
            Cell::number(d.histogram.map(|h| h.count as f64), |n| {
                wording::count(n as u64)
            }),
        ];
        match d.histogram {
            Some(h) => cells.extend(percentiles(h).map(|(_, at)| match at {
                Some(at) => Cell::number(Some(at.0), |_| value(h.unit, at)),
                None => Cell::unknown(),
            })),
            None => cells.extend((0..5).map(|_| Cell::unknown())),
        }
        Row {
            key: d.name.into(),
            cells,
            detail: m.why_unknown(d.histogram.is_none()),
        }
    });
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
        rows: rows.into(),
        sort: None,
        empty: String::new(),
    }
}

/// Picks a column of one sample in the history.
type Pick = fn(&Point) -> &Column;

/// The columns that the history has for a histogram.
fn remembered(name: &str) -> Option<(Unit, Pick)> {
    match name {
        "unmap time" => Some((Unit::Seconds, |p| &p.unmap)),
        "excess references" => Some((Unit::References, |p| &p.excess)),
        _ => None,
    }
}

/// Two halves, side by side or one above the other; the whole area where it is too small.
fn halves(area: Rect) -> (Rect, Rect) {
    if area.width >= 70 {
        let half = area.width / 2;
        let left = Rect {
            width: half - 1,
            ..area
        };
        let right = Rect::new(area.x + half, area.y, area.width - half, area.height);
        (left, right)
    } else if area.height >= 9 {
        let half = area.height / 2;
        let top = Rect {
            height: half,
            ..area
        };
        let bottom = Rect::new(area.x, area.y + half, area.width, area.height - half);
        (top, bottom)
    } else {
        (area, Rect::default())
    }
}

fn charts(frame: &mut Frame, area: Rect, m: &Material, row: &Row, theme: Theme) {
    let history = remembered(&row.key);
    let (left, right) = match history {
        Some(_) => halves(area),
        None => (area, Rect::default()),
    };
    let all = distributions(m.capture);
    let shown = all.iter().find(|d| d.name == row.key);
    let (width, height) = (usize::from(left.width), usize::from(left.height));
    let h = shown.and_then(|d| d.histogram);
    let lines = charts::distribution(h, width, height, theme);
    frame.render_widget(Paragraph::new(lines), left);
    if let Some((unit, column)) = history.filter(|_| right.height > 1) {
        frame.render_widget(heat(m.history, h, unit, column, right, theme), right);
    }
}

fn heat(
    history: &History,
    h: Option<&HistogramReport>,
    unit: Unit,
    column: Pick,
    area: Rect,
    theme: Theme,
) -> Paragraph<'static> {
    let columns: Vec<_> = history.points().map(column).collect();
    let mut lines = vec![Line::styled(
        "recent samples, newest on the right",
        theme.style(Ink::Dim),
    )];
    lines.extend(charts::heat_map(
        &columns.iter().copied(),
        h,
        unit,
        usize::from(area.width),
        usize::from(area.height) - 1,
        theme,
    ));
    Paragraph::new(lines)
}
