//! The detail pane: more about the selected row.

use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Wrap},
};

use crate::tui::{state::Dashboard, table::Table, views::Detail};

impl Dashboard {
    /// A rule with the row's title, and what the view says or draws about the row.
    pub(super) fn detail(&self, frame: &mut Frame, area: Rect, table: &Table, selected: usize) {
        if area.height < 2 {
            return;
        }
        let (Some(row), Some(material)) = (table.rows.get(selected), self.material()) else {
            return;
        };
        let view = self.view();
        let title = row.cells.get(view.title).map_or("", |c| c.text.as_str());
        let rule = self.theme.rule(&format!(" {title} "), area.width);
        self.theme.line(frame, Rect { height: 1, ..area }, rule);
        let inner = Rect::new(area.x, area.y + 1, area.width, area.height - 1);
        let lines = match view.detail {
            Detail::Drawing(draw) => return draw(frame, inner, &material, row, self.theme),
            Detail::Lines(lines) => lines(&material, row),
            Detail::Row => row.detail.clone(),
        };
        let lines: Vec<Line> = lines.into_iter().map(Line::raw).collect();
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), inner);
    }
}
