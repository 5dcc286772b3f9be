//! The table of the view.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Stylize},
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};

use crate::tui::{
    state::Dashboard,
    table::Table,
    theme::{Ink, Theme},
    width::aligned,
};

/// The mark of the column by which rows are sorted.
fn mark(theme: Theme, reverse: bool) -> &'static str {
    match (theme.ascii, reverse) {
        (true, true) => "^",
        (true, false) => "v",
        (false, true) => "▴",
        (false, false) => "▾",
    }
}

impl Dashboard {
    /// The headings and the rows, scrolled so that the selected one shows.
    pub(super) fn rows(&self, frame: &mut Frame, area: Rect, table: &Table, selected: usize) {
        let theme = self.theme;
        let fit = table.fit(usize::from(area.width));
        let reverse = self.place().is_some_and(|p| p.reverse);
        let mut lines = Vec::new();
        let mut heading = Vec::new();
        for (i, (column, w)) in fit.iter().enumerate() {
            let c = &table.columns[*column];
            let sorted = table.sort == Some(*column);
            let mark = if sorted { mark(theme, reverse) } else { "" };
            let text = aligned(&format!("{}{mark}", c.title), *w, c.right, theme.ascii);
            if i > 0 {
                heading.push(Span::raw("  "));
            }
            heading.push(
                theme
                    .ink(Ink::Bold, text)
                    .add_modifier(Modifier::UNDERLINED),
            );
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
                let right = table.columns[*column].right;
                spans.push(theme.ink(cell.ink, aligned(&cell.text, *w, right, theme.ascii)));
            }
            let line = Line::from(spans);
            lines.push(if i == selected {
                line.patch_style(theme.selected())
            } else {
                line
            });
        }
        if table.rows.is_empty() {
            let filter = self.filter();
            let text = if filter.is_empty() {
                table.empty.clone()
            } else {
                format!("no row contains {filter:?}: Esc clears the filter")
            };
            lines.push(Line::styled(text, theme.style(Ink::Dim)));
        }
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
    }
}
