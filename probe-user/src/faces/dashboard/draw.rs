//! Draws the dashboard.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Borders, Clear, Paragraph, Wrap},
};
use unicode_width::UnicodeWidthStr;

use super::{
    Dashboard, Mode, Source, View, drawings,
    keys::{BINDINGS, When},
    table::{Table, cut},
    theme::Ink,
    views::{histogram_of, rate},
};
use crate::{
    model::{Severity, Unit, history::Point, say},
    snapshot::HookState,
};

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
    fn line(&self, frame: &mut Frame, area: Rect, pieces: Vec<Span<'static>>) {
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

    fn ink(&self, ink: Ink, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(ink))
    }

    fn dot(&self) -> &'static str {
        if self.theme.ascii { " | " } else { " · " }
    }

    fn status(&self) -> Vec<Span<'static>> {
        let dot = self.dot();
        let mut pieces = vec![self.ink(Ink::Bold, "pinscope ")];
        let state = match &self.source {
            Source::Live { interval } if self.paused => {
                format!("PAUSED, {}", humantime::format_duration(*interval))
            }
            Source::Live { interval } => {
                format!("live, {}", humantime::format_duration(*interval))
            }
            Source::Replay {
                index,
                count,
                speed,
                incomplete,
            } => {
                let how = match (self.paused, &incomplete) {
                    (true, None) => "stopped".to_owned(),
                    (true, Some(_)) => "stopped, cut off".to_owned(),
                    (false, _) => format!("playing x{speed}"),
                };
                format!("REPLAY {}/{count} {how}", index + 1)
            }
        };
        let ink = if self.paused { Ink::Warn } else { Ink::Good };
        pieces.push(self.ink(ink, state));
        let host = &self.host;
        pieces.push(Span::raw(format!("{dot}{}", host.hostname)));
        if let Some(now) = &self.now {
            let active = now
                .hooks
                .iter()
                .filter(|h| h.state == HookState::Active)
                .count();
            pieces.push(Span::raw(format!("{dot}{}", say::span(now.elapsed))));
            let missed = now.hooks.iter().filter_map(|h| h.missed).sum::<u64>();
            pieces.push(Span::raw(format!(
                "{dot}{active}/{} hooks",
                now.hooks.len()
            )));
            let lost = now.lost.keys().saturating_add(now.lost.events);
            if lost > 0 {
                pieces.push(self.ink(Ink::Warn, format!("{dot}lost {}", say::count(lost))));
            }
            if missed > 0 {
                pieces.push(self.ink(Ink::Warn, format!("{dot}missed {}", say::count(missed))));
            }
            if let Some(cpu) = self.own_cost() {
                pieces.push(Span::raw(format!("{dot}own CPU {cpu}")));
            }
        }
        pieces.push(self.ink(Ink::Dim, format!("{dot}Linux {}", host.kernel)));
        pieces
    }

    /// What pinscope itself took of one CPU since the look before.
    fn own_cost(&self) -> Option<String> {
        let (now, previous) = (self.now.as_ref()?, self.previous.as_ref()?);
        let seconds = now.elapsed - previous.elapsed;
        let cpu = now.cost.cpu_seconds? - previous.cost.cpu_seconds?;
        (seconds > 0.0).then(|| format!("{:.1} %", (cpu / seconds * 100.0).max(0.0)))
    }

    fn strip(&self, frame: &mut Frame, area: Rect) {
        let points: Vec<&Point> = self.history.points().collect();
        let series = |of: &dyn Fn(&Point) -> Option<f64>| -> Vec<Option<f64>> {
            points.iter().map(|p| of(p)).collect()
        };
        let rates = |p: &Point| p.interval.rates.clone();
        let unmaps = series(&|p| rates(p)?.unmaps);
        let futile = series(&|p| rates(p)?.futile);
        let calls = series(&|p| rates(p)?.notifier_calls);
        let vain = self.time_in_vain();
        let last = |s: &[Option<f64>]| s.last().copied().flatten();
        let share = match (last(&futile), last(&unmaps)) {
            (Some(f), Some(u)) if u > 0.0 => format!(" ({:.0} %)", f / u * 100.0),
            _ => String::new(),
        };
        let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), rate);
        let bad = last(&futile).is_some_and(|f| f > 0.0);
        let boxes = [
            ("unmaps/s", number(last(&unmaps)), Ink::Plain, unmaps),
            (
                "vain/s",
                format!("{}{share}", number(last(&futile))),
                if bad { Ink::Bad } else { Ink::Plain },
                futile,
            ),
            ("notified/s", number(last(&calls)), Ink::Plain, calls),
            (
                "vain time/s",
                last(&vain).map_or_else(|| "-".to_owned(), say::duration),
                Ink::Plain,
                vain,
            ),
        ];
        let shown = (usize::from(area.width) / 19).clamp(2, boxes.len());
        let width = usize::from(area.width) / shown;
        let (mut top, mut bottom) = (Vec::new(), Vec::new());
        for (name, number, ink, values) in boxes.into_iter().take(shown) {
            let room = width.saturating_sub(1);
            let number = cut(&number, room, self.theme.ascii);
            // On a narrow terminal the name makes room for the number.
            let name = cut(
                &format!(" {name}"),
                room.saturating_sub(number.width()),
                self.theme.ascii,
            );
            let fill = width - number.width() - name.width();
            top.push(self.ink(ink, number).add_modifier(Modifier::BOLD));
            top.push(self.ink(Ink::Dim, name));
            top.push(Span::raw(" ".repeat(fill)));
            bottom.push(self.ink(Ink::Bar, self.theme.sparkline(&values, room)));
            bottom.push(Span::raw(" ".repeat(width - room)));
        }
        let mut lines = vec![Line::from(top)];
        if area.height > 1 {
            lines.push(Line::from(bottom));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    /// Time spent unmapping in vain, for each second of each look.
    fn time_in_vain(&self) -> Vec<Option<f64>> {
        let mut all: Vec<Option<f64>> = self
            .history
            .points()
            .map(|p| {
                p.interval.rates.as_ref()?.futile?;
                // The middle of each power of two stands for what it counts.
                let ns: f64 = p
                    .unmap
                    .iter()
                    .enumerate()
                    .map(|(power, n)| f64::from(*n) * 0.75 * 2f64.powi(power as i32))
                    .sum();
                (p.interval.seconds > 0.0).then(|| ns / 1e9 / p.interval.seconds)
            })
            .collect();
        // Of the newest look the sum is known.
        if let (Some(last), Some(latest)) = (all.last_mut(), &self.latest)
            && let Some(h) = &latest.histograms.unmap_seconds
            && latest.window.seconds > 0.0
        {
            *last = Some(h.sum.0 / latest.window.seconds);
        }
        all
    }

    /// The gravest finding, or the answer.
    fn finding(&self) -> Vec<Span<'static>> {
        if let Some(message) = &self.message {
            return vec![self.ink(Ink::Bold, format!("> {message}"))];
        }
        let Some(capture) = &self.totals else {
            return Vec::new();
        };
        let mut grave = capture
            .findings
            .iter()
            .filter(|f| f.severity != Severity::Info);
        match grave.next() {
            Some(f) => {
                let more = grave.count();
                let ink = if f.severity == Severity::Critical {
                    Ink::Bad
                } else {
                    Ink::Warn
                };
                let more = if more > 0 {
                    format!(" (+{more}, 9 opens)")
                } else {
                    " (9 opens)".to_owned()
                };
                vec![
                    self.ink(ink, format!("{}: ", f.severity.name())),
                    self.ink(Ink::Bold, f.id.clone()),
                    self.ink(Ink::Dim, more),
                    Span::raw(format!(" {}", f.text)),
                ]
            }
            None => vec![Span::raw(capture.answer.text.clone())],
        }
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

    fn rule(&self, title: &str, width: u16) -> Vec<Span<'static>> {
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
    fn charts(&self, frame: &mut Frame, area: Rect, key: &str) {
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
        let lines = drawings::distribution(h, w, rows, self.theme);
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
        lines.extend(drawings::heat_map(
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

    fn popup(&self, frame: &mut Frame, area: Rect, title: &str, width: u16, height: u16) -> Rect {
        let (width, height) = (width.min(area.width), height.min(area.height));
        let at = Rect::new(
            area.x + (area.width - width) / 2,
            area.y + (area.height - height) / 2,
            width,
            height,
        );
        let mut block = Block::new()
            .borders(Borders::ALL)
            .title(format!(" {title} "));
        if self.theme.ascii {
            block = block.border_set(ratatui::symbols::border::Set {
                top_left: "+",
                top_right: "+",
                bottom_left: "+",
                bottom_right: "+",
                vertical_left: "|",
                vertical_right: "|",
                horizontal_top: "-",
                horizontal_bottom: "-",
            });
        }
        let inner = block.inner(at);
        frame.render_widget(Clear, at);
        frame.render_widget(block, at);
        inner
    }

    fn help(&self, frame: &mut Frame, area: Rect, scroll: u16) {
        let mut lines = Vec::new();
        for b in BINDINGS {
            let only = match b.when {
                When::Always => "",
                When::Live => " (live)",
                When::Replay => " (replay)",
                When::Victims => " (victims)",
            };
            let ink = if self.works(b.when) {
                Ink::Plain
            } else {
                Ink::Dim
            };
            lines.push(Line::from(vec![
                self.ink(Ink::Bold, format!("{:<14}", b.label)),
                self.ink(ink, format!("{}{only}", b.help)),
            ]));
        }
        let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
        let inner = self.popup(frame, area, "keys: Esc closes, j k scroll", 58, height);
        let most = u16::try_from(lines.len())
            .unwrap_or(0)
            .saturating_sub(inner.height);
        frame.render_widget(Paragraph::new(lines).scroll((scroll.min(most), 0)), inner);
    }

    /// The selected row alone: each column by its name, and all there is to say.
    fn open(&self, frame: &mut Frame, area: Rect, table: &Table, scroll: u16) {
        let Some(row) = table.rows.get(self.selected(table)) else {
            return;
        };
        let inner = self.popup(frame, area, "Esc closes", area.width, area.height);
        let mut lines: Vec<Line> = table
            .columns
            .iter()
            .zip(&row.cells)
            .map(|(c, cell)| {
                Line::from(vec![
                    self.ink(Ink::Dim, format!("{:<16}", c.title)),
                    self.ink(cell.ink, cell.text.clone()),
                ])
            })
            .collect();
        lines.push(Line::raw(""));
        if self.view == View::Histograms {
            let top = u16::try_from(lines.len()).unwrap_or(0).min(inner.height);
            frame.render_widget(Paragraph::new(lines), inner);
            let rest = Rect::new(inner.x, inner.y + top, inner.width, inner.height - top);
            if rest.height > 0 {
                self.charts(frame, rest, &row.key);
            }
            return;
        }
        for text in &row.detail {
            lines.push(Line::raw(text.clone()));
        }
        let text = Paragraph::new(lines).wrap(Wrap { trim: false });
        frame.render_widget(text.scroll((scroll, 0)), inner);
    }

    fn sort_menu(&self, frame: &mut Frame, area: Rect, table: &Table, column: usize) {
        let height = u16::try_from(table.columns.len() + 2).unwrap_or(u16::MAX);
        let inner = self.popup(frame, area, "sort by: Enter", 26, height);
        let lines: Vec<Line> = table
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let chosen = i == column;
                let mark = if chosen { "> " } else { "  " };
                let line = Line::raw(format!("{mark}{}", c.title));
                if chosen {
                    line.style(self.theme.selected())
                } else {
                    line
                }
            })
            .collect();
        let most = u16::try_from(lines.len())
            .unwrap_or(0)
            .saturating_sub(inner.height);
        let scroll = u16::try_from(column).unwrap_or(0).min(most);
        frame.render_widget(Paragraph::new(lines).scroll((scroll, 0)), inner);
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
