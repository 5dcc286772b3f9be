//! Where everything goes on the screen.

use ratatui::layout::Rect;

/// The areas of the screen, from the top. A height of 0: no room.
pub(super) struct Areas {
    pub(super) status: Rect,
    pub(super) strip: Rect,
    pub(super) finding: Rect,
    pub(super) tabs: Rect,
    pub(super) table: Rect,
    pub(super) detail: Rect,
    pub(super) footer: Rect,
}

impl Areas {
    /// Divides `area` for a table of `rows` rows. A drawing gets all the room that the rows
    /// leave.
    pub(super) fn new(area: Rect, rows: usize, drawing: bool) -> Self {
        let h = area.height;
        let strip = if h >= 18 { 2 } else { 1 };
        let finding = u16::from(h >= 14);
        let fixed = 1 + strip + finding + 1 + 1;
        let left = h.saturating_sub(fixed);
        // The heading and the rows.
        let wanted = u16::try_from(rows + 1).unwrap_or(u16::MAX);
        let detail = match left {
            _ if drawing => left.saturating_sub(wanted),
            12.. => (left / 3).max(left.saturating_sub(wanted)).min(left - 5),
            8.. => 3,
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
