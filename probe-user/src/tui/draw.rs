//! Draws the dashboard.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};
use unicode_width::UnicodeWidthStr;

use super::{
    Dashboard, Mode, View, distribution,
    keys::BINDINGS,
    table::{Table, cut},
    theme::Ink,
    views::histogram_of,
};
use crate::model::{Severity, Unit};

/// Below this nothing can be read.
const LEAST: (u16, u16) = (30, 8);

/// Where things go, from the top; a height of 0: no room.
struct Layout {
    status: Rect,
    strip: Rect,
    finding: Rect,
    tabs: Rect,
    table: Rect,
    detail: Rect,
    footer: Rect,
}

impl Layout {
    fn new(area: Rect, view: View, rows: usize) -> Self {
        let h = area.height;
        let strip = if h >= 18 { 2 } else { 1 };
        let finding = u16::from(h >= 14);
        let fixed = 1 + strip + finding + 1 + 1;
        let left = h.saturating_sub(fixed);
        // The heading and the rows; histograms are drawn in the detail pane.
        let wanted = u16::try_from(rows + 1).unwrap_or(u16::MAX);
        let detail = match view {
            View::Histograms => left.saturating_sub(wanted),
            _ if left >= 12 => (left / 3).max(left.saturating_sub(wanted)).min(left - 5),
            _ if left >= 8 => 3,
            _ => 0,
        };
        let mut y = area.y;
        let mut next = |height: u16| {
            let rect = Rect::new(area.x, y, area.width, height);
            y += height;
            rect
        };
        Self {
            status: next(1),
            strip: next(strip),
            finding: next(finding),
            tabs: next(1),
            table: next(left - detail),
            detail: next(detail),
            footer: next(1),
        }
    }
}

impl Dashboard {
    /// Draws it all.
    pub fn draw(&mut self, frame: &mut Frame) {
        let area = frame.area();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let text = format!("too small: {}x{} at least", LEAST.0, LEAST.1);
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
            return;
        }
        let table = self.table();
        let rows = table.as_ref().map_or(0, |t| t.rows.len());
        let at = Layout::new(area, self.view, rows);
        self.page = usize::from(at.table.height.saturating_sub(2)).max(1);
        self.line(frame, at.status, self.status());
        self.strip(frame, at.strip);
        if at.finding.height > 0 {
            self.line(frame, at.finding, self.finding());
        }
        self.line(frame, at.tabs, self.tabs(area.width));
        match &table {
            Some(table) => {
                let selected = self.selected(table);
                self.rows(frame, at.table, table, selected);
                self.detail(frame, at.detail, table, selected);
            }
            None => {
                let text = "waiting for the first look";
                frame.render_widget(Paragraph::new(text), at.table);
            }
        }
        let footer = self.footer(area.width);
        self.line(frame, at.footer, footer);
        match self.mode {
            Mode::Help(scroll) => self.help(frame, area, scroll),
            Mode::Open(scroll) => {
                if let Some(table) = &table {
                    self.open(frame, area, table, scroll);
                }
            }
            Mode::Sort(column) => {
                if let Some(table) = &table {
                    self.sort_menu(frame, area, table, column);
                }
            }
            Mode::Table | Mode::Filter => {}
        }
    }

    /// One line, cut to its width. Pieces further on go first.
    pub(super) fn line(&self, frame: &mut Frame, area: Rect, pieces: Vec<Span<'static>>) {
        let mut left = usize::from(area.width);
        let mut shown = Vec::new();
        for piece in pieces {
            let text = cut(&piece.content, left, self.theme.ascii);
            left -= text.width();
            shown.push(Span::styled(text, piece.style));
            if left == 0 {
                break;
            }
        }
        frame.render_widget(Paragraph::new(Line::from(shown)), area);
    }

    pub(super) fn ink(&self, ink: Ink, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(ink))
    }

    pub(super) fn dot(&self) -> &'static str {
        if self.theme.ascii { " | " } else { " · " }
    }

    fn tabs(&self, width: u16) -> Vec<Span<'static>> {
        let room = usize::from(width).saturating_sub("totals".len() + self.view.name().len());
        let fits = |name: fn(View) -> &'static str| {
            View::ALL.iter().map(|v| name(*v).len() + 2).sum::<usize>() <= room
        };
        let name: fn(View) -> &'static str = if fits(View::name) {
            View::name
        } else if fits(View::short) {
            View::short
        } else {
            |_| ""
        };
        let mut pieces = Vec::new();
        for (i, view) in View::ALL.into_iter().enumerate() {
            let shown = view == self.view;
            let name = if shown { view.name() } else { name(view) };
            let style = if shown {
                self.theme.selected()
            } else {
                Style::new()
            };
            pieces.push(Span::styled(format!("{}{name}", i + 1), style));
            pieces.push(Span::raw(" "));
        }
        let what = if self.rates { "rates" } else { "totals" };
        pieces.push(self.ink(Ink::Dim, what));
        pieces
    }

    fn rows(&self, frame: &mut Frame, area: Rect, table: &Table, selected: usize) {
        let width = usize::from(area.width);
        let fit = table.fit(width);
        let place = self.places.get(&self.view);
        let mut lines = Vec::new();
        let mut heading = Vec::new();
        for (i, (column, w)) in fit.iter().enumerate() {
            let c = &table.columns[*column];
            let mark = match (
                table.sort == Some(*column),
                place.is_some_and(|p| p.reverse),
            ) {
                (false, _) => "",
                (true, reverse) if self.theme.ascii => {
                    if reverse {
                        "^"
                    } else {
                        "v"
                    }
                }
                (true, false) => "▾",
                (true, true) => "▴",
            };
            let text = aligned(&format!("{}{mark}", c.title), *w, c.right, self.theme.ascii);
            if i > 0 {
                heading.push(Span::raw("  "));
            }
            heading.push(self.ink(Ink::Bold, text).add_modifier(Modifier::UNDERLINED));
        }
        lines.push(Line::from(heading));
        let room = usize::from(area.height.saturating_sub(1));
        let first = selected.saturating_sub(room.saturating_sub(1));
        for (i, row) in table.rows.iter().enumerate().skip(first).take(room) {
            let mut spans = Vec::new();
            for (j, (column, w)) in fit.iter().enumerate() {
                let Some(cell) = row.cells.get(*column) else {
                    continue;
                };
                if j > 0 {
                    spans.push(Span::raw("  "));
                }
                let text = aligned(
                    &cell.text,
                    *w,
                    table.columns[*column].right,
                    self.theme.ascii,
                );
                spans.push(self.ink(cell.ink, text));
            }
            let line = Line::from(spans);
            lines.push(if i == selected {
                line.patch_style(self.theme.selected())
            } else {
                line
            });
        }
        if table.rows.is_empty() {
            let filter = place.map_or("", |p| p.filter.value());
            let text = if filter.is_empty() {
                table.empty.clone()
            } else {
                format!("no row has {filter:?}: Esc clears the filter")
            };
            lines.push(Line::styled(text, self.theme.style(Ink::Dim)));
        }
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
    }

    fn detail(&self, frame: &mut Frame, area: Rect, table: &Table, selected: usize) {
        if area.height < 2 {
            return;
        }
        let Some(row) = table.rows.get(selected) else {
            return;
        };
        let title = format!(" {} ", row.cells.first().map_or("", |c| c.text.as_str()));
        let title = match self.view {
            View::Victims | View::Findings | View::Events => {
                format!(" {} ", row.cells.get(1).map_or("", |c| c.text.as_str()))
            }
            _ => title,
        };
        let inner = Rect::new(area.x, area.y + 1, area.width, area.height - 1);
        self.line(
            frame,
            Rect { height: 1, ..area },
            self.rule(&title, area.width),
        );
        if self.view == View::Histograms {
            self.charts(frame, inner, &row.key);
            return;
        }
        let mut lines: Vec<Line> = row.detail.iter().map(|l| Line::raw(l.clone())).collect();
        if self.view == View::Overview {
            if let Some(totals) = &self.totals {
                lines.insert(0, Line::raw(totals.answer.text.clone()));
            }
            let more = (self.totals.iter()).flat_map(|t| &t.findings);
            for f in more.filter(|f| f.severity != Severity::Info) {
                lines.push(Line::raw(format!("{}: {}", f.severity.name(), f.text)));
            }
        }
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), inner);
    }

    pub(super) fn rule(&self, title: &str, width: u16) -> Vec<Span<'static>> {
        let line = if self.theme.ascii { "-" } else { "─" };
        let title = cut(
            title,
            usize::from(width.saturating_sub(4)),
            self.theme.ascii,
        );
        let rest = usize::from(width).saturating_sub(2 + title.width());
        vec![
            self.ink(Ink::Dim, line.repeat(2)),
            self.ink(Ink::Bold, title),
            self.ink(Ink::Dim, line.repeat(rest)),
        ]
    }

    /// The distribution, and the last looks as a heat map where there is one.
    pub(super) fn charts(&self, frame: &mut Frame, area: Rect, key: &str) {
        let capture = if self.rates {
            &self.latest
        } else {
            &self.totals
        };
        let h = capture.as_ref().and_then(|c| histogram_of(c, key));
        let mapped = match key {
            "unmap time" => Some(Unit::Seconds),
            "excess references" => Some(Unit::References),
            _ => None,
        };
        let (left, right) = match mapped {
            Some(_) if area.width >= 70 => {
                let half = area.width / 2;
                (
                    Rect {
                        width: half - 1,
                        ..area
                    },
                    Rect::new(area.x + half, area.y, area.width - half, area.height),
                )
            }
            Some(_) if area.height >= 9 => {
                let half = area.height / 2;
                (
                    Rect {
                        height: half,
                        ..area
                    },
                    Rect::new(area.x, area.y + half, area.width, area.height - half),
                )
            }
            _ => (area, Rect::default()),
        };
        let size = |r: Rect| (usize::from(r.width), usize::from(r.height));
        let (w, rows) = size(left);
        let lines = distribution::distribution(h, w, rows, self.theme);
        frame.render_widget(Paragraph::new(lines), left);
        let Some(unit) = mapped.filter(|_| right.height > 1) else {
            return;
        };
        let (w, rows) = size(right);
        let points = self.history.points();
        let mut lines = vec![Line::styled(
            "the last looks, newest to the right",
            self.theme.style(Ink::Dim),
        )];
        let columns: Vec<_> = points
            .map(|p| {
                if unit == Unit::Seconds {
                    &p.unmap
                } else {
                    &p.excess
                }
            })
            .collect();
        lines.extend(distribution::heat_map(
            &columns.iter().copied(),
            unit,
            w,
            rows - 1,
            self.theme,
        ));
        frame.render_widget(Paragraph::new(lines), right);
    }

    fn footer(&self, width: u16) -> Vec<Span<'static>> {
        if self.mode == Mode::Filter {
            let value = self
                .places
                .get(&self.view)
                .map_or("", |p| p.filter.value())
                .to_owned();
            return vec![
                self.ink(Ink::Bold, "filter: "),
                Span::raw(value),
                Span::styled(" ", self.theme.selected()),
                self.ink(Ink::Dim, "  Enter keeps it, Esc clears it"),
            ];
        }
        let mut pieces = Vec::new();
        // A message has no line of its own on a low terminal.
        let filter = self.places.get(&self.view).map_or("", |p| p.filter.value());
        if !filter.is_empty() {
            pieces.push(self.ink(Ink::Warn, format!("/{filter}  ")));
        }
        let mut left = usize::from(width) + 1;
        for b in BINDINGS.iter().filter(|b| self.works(b.when)) {
            if let Some(word) = b.footer {
                let key = b.label.split(' ').next().unwrap_or(b.label);
                // What doesn't fit whole is in the help.
                left = left.saturating_sub(key.width() + word.width() + 1);
                if left == 0 {
                    break;
                }
                left = left.saturating_sub(2);
                pieces.push(self.ink(Ink::Bold, key.to_owned()));
                pieces.push(Span::raw(format!(" {word}  ")));
            }
        }
        pieces
    }
}

fn aligned(text: &str, width: usize, right: bool, ascii: bool) -> String {
    let text = cut(text, width, ascii);
    let fill = " ".repeat(width.saturating_sub(text.width()));
    if right {
        format!("{fill}{text}")
    } else {
        format!("{text}{fill}")
    }
}
