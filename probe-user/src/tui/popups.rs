//! What lies over the table while it is asked for: help, an opened row, the sort menu.

use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Block, Borders, Clear, Paragraph, Wrap},
};

use super::{
    Dashboard, View,
    keys::{BINDINGS, When},
    table::Table,
    theme::Ink,
};

impl Dashboard {
    pub(super) fn popup(
        &self,
        frame: &mut Frame,
        area: Rect,
        title: &str,
        width: u16,
        height: u16,
    ) -> Rect {
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

    pub(super) fn help(&self, frame: &mut Frame, area: Rect, scroll: u16) {
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
    pub(super) fn open(&self, frame: &mut Frame, area: Rect, table: &Table, scroll: u16) {
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

    pub(super) fn sort_menu(&self, frame: &mut Frame, area: Rect, table: &Table, column: usize) {
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
