//! Draws the dashboard.

mod areas;
mod detail;
mod footer;
mod head;
mod popups;
mod rows;
mod tabs;

use ratatui::{
    Frame,
    widgets::{Paragraph, Wrap},
};

use self::areas::Areas;
use super::{
    state::{Dashboard, Mode},
    views::Detail,
};

/// The smallest terminal in which anything is readable.
const LEAST: (u16, u16) = (30, 8);

impl Dashboard {
    /// Draws the whole screen.
    pub fn draw(&mut self, frame: &mut Frame) {
        let area = frame.area();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let text = format!("too small: {}x{} at least", LEAST.0, LEAST.1);
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
            return;
        }
        let table = self.table();
        let rows = table.as_ref().map_or(0, |t| t.rows.len());
        let drawing = matches!(self.view().detail, Detail::Drawing(_));
        let at = Areas::new(area, rows, drawing);
        self.page = usize::from(at.table.height.saturating_sub(2)).max(1);
        let theme = self.theme;
        theme.line(frame, at.status, self.status());
        self.strip(frame, at.strip);
        if at.finding.height > 0 {
            theme.line(frame, at.finding, self.finding());
        }
        let tabs = tabs::tabs(self.views, self.view, self.rates, area.width, theme);
        theme.line(frame, at.tabs, tabs);
        match &table {
            Some(table) => {
                let selected = self.selected(table);
                self.rows(frame, at.table, table, selected);
                self.detail(frame, at.detail, table, selected);
            }
            None => {
                let text = "waiting for the first sample";
                frame.render_widget(Paragraph::new(text), at.table);
            }
        }
        theme.line(frame, at.footer, self.footer(area.width));
        match (&self.mode, &table) {
            (Mode::Help(scroll), _) => self.help(frame, area, *scroll),
            (Mode::Views(chosen), _) => self.view_menu(frame, area, *chosen),
            (Mode::Open(scroll), Some(table)) => self.open(frame, area, table, *scroll),
            (Mode::Sort(column), Some(table)) => self.sort_menu(frame, area, table, *column),
            _ => {}
        }
    }
}
