//! The head of the dashboard: the host and the state of measuring, the rates with their last
//! minutes, and the gravest finding.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Stylize},
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

use crate::{
    model::{Severity, history::Point, tables::Share, wording},
    snapshot::HookStatus,
    tui::{
        state::{Dashboard, Feed},
        theme::Ink,
        views::{FINDINGS, key_of, rate},
        width::cut,
    },
};

impl Dashboard {
    /// The status line.
    pub(super) fn status(&self) -> Vec<Span<'static>> {
        let dot = self.theme.dot();
        let mut pieces = vec![self.theme.ink(Ink::Bold, "pinscope ")];
        let state = match &self.feed {
            Feed::Live { interval } if self.paused => {
                format!("PAUSED, {}", humantime::format_duration(*interval))
            }
            Feed::Live { interval } => {
                format!("live, {}", humantime::format_duration(*interval))
            }
            Feed::Replay {
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
        pieces.push(self.theme.ink(ink, state));
        let host = &self.host;
        pieces.push(Span::raw(format!("{dot}{}", host.hostname)));
        if let Some(now) = &self.now {
            let (active, all) = HookStatus::active_of_all(&now.hooks);
            pieces.push(Span::raw(format!("{dot}{}", wording::span(now.elapsed))));
            let missed = now.hooks.iter().filter_map(|h| h.missed).sum::<u64>();
            pieces.push(Span::raw(format!("{dot}{active}/{all} hooks")));
            let lost = now.lost.keys().saturating_add(now.lost.events);
            if lost > 0 {
                pieces.push(
                    self.theme
                        .ink(Ink::Warn, format!("{dot}lost {}", wording::count(lost))),
                );
            }
            if missed > 0 {
                pieces.push(
                    self.theme
                        .ink(Ink::Warn, format!("{dot}missed {}", wording::count(missed))),
                );
            }
            if let Some(cpu) = self.own_cost() {
                pieces.push(Span::raw(format!("{dot}own CPU {cpu}")));
            }
        }
        pieces.push(
            self.theme
                .ink(Ink::Dim, format!("{dot}Linux {}", host.kernel)),
        );
        pieces
    }

    /// The share of one CPU that pinscope itself used since the previous sample.
    fn own_cost(&self) -> Option<String> {
        let (now, previous) = (self.now.as_ref()?, self.previous.as_ref()?);
        let seconds = now.elapsed - previous.elapsed;
        let cpu = now.cost.cpu_seconds? - previous.cost.cpu_seconds?;
        (seconds > 0.0).then(|| format!("{:.1} %", (cpu / seconds * 100.0).max(0.0)))
    }

    /// The summary strip: rates, and sparklines of the last minutes.
    pub(super) fn strip(&self, frame: &mut Frame, area: Rect) {
        let points: Vec<&Point> = self.history.points().collect();
        let series = |of: &dyn Fn(&Point) -> Option<f64>| -> Vec<Option<f64>> {
            points.iter().map(|p| of(p)).collect()
        };
        let rates = |p: &Point| p.interval.rates.clone();
        let unmaps = series(&|p| rates(p)?.unmaps);
        let futile = series(&|p| rates(p)?.futile);
        let calls = series(&|p| rates(p)?.notifier_calls);
        let time = self.futile_time();
        let last = |s: &[Option<f64>]| s.last().copied().flatten();
        let latest = self.latest.as_ref().map(|c| &c.unmaps);
        let share = latest
            .and_then(|u| Some(Share::of(u.futile()?, u.total.filter(|n| *n > 0)?)))
            .map_or_else(String::new, |share| format!(" ({share})"));
        let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), rate);
        let bad = last(&futile).is_some_and(|f| f > 0.0);
        let boxes = [
            ("unmaps/s", number(last(&unmaps)), Ink::Plain, unmaps),
            (
                "futile/s",
                format!("{}{share}", number(last(&futile))),
                if bad { Ink::Bad } else { Ink::Plain },
                futile,
            ),
            ("notified/s", number(last(&calls)), Ink::Plain, calls),
            (
                "futile time/s",
                last(&time).map_or_else(|| "-".to_owned(), wording::duration),
                Ink::Plain,
                time,
            ),
        ];
        let shown = (usize::from(area.width) / 19).clamp(2, boxes.len());
        let width = usize::from(area.width) / shown;
        let (mut top, mut bottom) = (Vec::new(), Vec::new());
        for (name, number, ink, values) in boxes.into_iter().take(shown) {
            let room = width.saturating_sub(1);
            let number = cut(&number, room, self.theme.ascii);
            // On a narrow terminal the name makes room for the number: first without its unit.
            let left = room.saturating_sub(number.width());
            let name = format!(" {name}");
            let name = match name.strip_suffix("/s") {
                Some(short) if name.width() > left => short,
                _ => &name,
            };
            let name = cut(name, left, self.theme.ascii);
            let fill = width - number.width() - name.width();
            top.push(self.theme.ink(ink, number).add_modifier(Modifier::BOLD));
            top.push(self.theme.ink(Ink::Dim, name));
            top.push(Span::raw(" ".repeat(fill)));
            bottom.push(
                self.theme
                    .ink(Ink::Bar, self.theme.sparkline(&values, room)),
            );
            bottom.push(Span::raw(" ".repeat(width - room)));
        }
        let mut lines = vec![Line::from(top)];
        if area.height > 1 {
            lines.push(Line::from(bottom));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    /// Time spent on futile unmaps per second, for each sample.
    fn futile_time(&self) -> Vec<Option<f64>> {
        let mut all: Vec<Option<f64>> = self
            .history
            .points()
            .map(|p| {
                p.interval.rates.as_ref()?.futile?;
                // Each count weighs as the middle of its power of two.
                let ns: f64 = p
                    .unmap
                    .iter()
                    .enumerate()
                    .map(|(power, n)| f64::from(*n) * 0.75 * 2f64.powi(power as i32))
                    .sum();
                (p.interval.seconds > 0.0).then(|| ns / 1e9 / p.interval.seconds)
            })
            .collect();
        // The sum of the latest sample is exact.
        if let (Some(last), Some(latest)) = (all.last_mut(), &self.latest)
            && let Some(h) = &latest.histograms.unmap_seconds
            && latest.window.seconds > 0.0
        {
            *last = Some(h.sum.0 / latest.window.seconds);
        }
        all
    }

    /// The message, the gravest finding, or the answer.
    pub(super) fn finding(&self) -> Vec<Span<'static>> {
        if let Some(message) = &self.message {
            return vec![self.theme.ink(Ink::Bold, format!("> {message}"))];
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
                let key = key_of(self.views, &FINDINGS);
                let more = if more > 0 {
                    format!(" (+{more}, {key} opens)")
                } else {
                    format!(" ({key} opens)")
                };
                vec![
                    self.theme.ink(ink, format!("{}: ", f.severity.name())),
                    self.theme.ink(Ink::Bold, f.id.clone()),
                    self.theme.ink(Ink::Dim, more),
                    Span::raw(format!(" {}", f.text)),
                ]
            }
            None => vec![Span::raw(capture.answer.text.clone())],
        }
    }
}
