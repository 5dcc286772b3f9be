//! Popups over the table: the help, an opened row, and the menus.

use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Block, Borders, Clear, Paragraph, Wrap},
};

use crate::tui::{
    keys::When,
    state::Dashboard,
    table::Table,
    theme::Ink,
    views::{Detail, key_of},
};

impl Dashboard {
    /// A frame in the middle of `area`, and the room inside.
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

    /// All keys; those that do not work here are dim.
    pub(super) fn help(&self, frame: &mut Frame, area: Rect, scroll: u16) {
        let mut lines = Vec::new();
        for b in self.bindings() {
            let only = match b.when {
                When::Always => String::new(),
                When::Live => " (live)".to_owned(),
                When::Replay => " (replay)".to_owned(),
                When::View(name) => format!(" ({name})"),
            };
            let ink = if self.works(b.when) {
                Ink::Plain
            } else {
                Ink::Dim
            };
            lines.push(Line::from(vec![
                self.theme.ink(Ink::Bold, format!("{:<14}", b.label)),
                self.theme.ink(ink, format!("{}{only}", b.help)),
            ]));
        }
        let height = height_of(lines.len());
        let inner = self.popup(frame, area, "keys: Esc closes, j k scroll", 58, height);
        let most = height.saturating_sub(2 + inner.height);
        frame.render_widget(Paragraph::new(lines).scroll((scroll.min(most), 0)), inner);
    }

    /// The selected row alone: each cell by the title of its column, and the details.
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
                    self.theme.ink(Ink::Dim, format!("{:<16}", c.title)),
                    self.theme.ink(cell.ink, cell.text.clone()),
                ])
            })
            .collect();
        lines.push(Line::raw(""));
        if let (Detail::Drawing(draw), Some(material)) = (&self.view().detail, self.material()) {
            let top = u16::try_from(lines.len()).unwrap_or(0).min(inner.height);
            frame.render_widget(Paragraph::new(lines), inner);
            let rest = Rect::new(inner.x, inner.y + top, inner.width, inner.height - top);
            if rest.height > 0 {
                draw(frame, rest, &material, row, self.theme);
            }
            return;
        }
        for text in &row.detail {
            lines.push(Line::raw(text.clone()));
        }
        let text = Paragraph::new(lines).wrap(Wrap { trim: false });
        frame.render_widget(text.scroll((scroll, 0)), inner);
    }

    /// The menu of columns to sort by.
    pub(super) fn sort_menu(&self, frame: &mut Frame, area: Rect, table: &Table, chosen: usize) {
        let columns: Vec<String> = table.columns.iter().map(|c| c.title.to_owned()).collect();
        self.menu(frame, area, "sort by: Enter", 26, &columns, chosen);
    }

    /// The menu of all views, with their keys.
    pub(super) fn view_menu(&self, frame: &mut Frame, area: Rect, chosen: usize) {
        let views: Vec<String> = self
            .views
            .iter()
            .map(|view| match key_of(self.views, view) {
                "v" => format!("  {}", view.help),
                digit => format!("{digit} {}", view.help),
            })
            .collect();
        self.menu(
            frame,
            area,
            "views: Enter shows one, Esc closes",
            50,
            &views,
            chosen,
        );
    }

    /// A menu, scrolled so that the chosen entry shows.
    fn menu(
        &self,
        frame: &mut Frame,
        area: Rect,
        title: &str,
        width: u16,
        entries: &[String],
        chosen: usize,
    ) {
        let height = height_of(entries.len());
        let inner = self.popup(frame, area, title, width, height);
        let lines: Vec<Line> = entries
            .iter()
            .enumerate()
            .map(|(i, entry)| {
                if i == chosen {
                    Line::raw(format!("> {entry}")).style(self.theme.selected())
                } else {
                    Line::raw(format!("  {entry}"))
                }
            })
            .collect();
        let most = height.saturating_sub(2 + inner.height);
        let scroll = u16::try_from(chosen).unwrap_or(0).min(most);
        frame.render_widget(Paragraph::new(lines).scroll((scroll, 0)), inner);
    }
}

/// The height of a popup with this number of lines.
fn height_of(lines: usize) -> u16 {
    u16::try_from(lines + 2).unwrap_or(u16::MAX)
}
