//! The footer: the keys that work here, or the filter as it is typed.

use ratatui::text::Span;
use unicode_width::UnicodeWidthStr;

use crate::tui::{
    state::{Dashboard, Mode},
    theme::Ink,
};

impl Dashboard {
    /// The footer. A key whose word does not fit is in the help only.
    pub(super) fn footer(&self, width: u16) -> Vec<Span<'static>> {
        let theme = self.theme;
        let filter = self.filter();
        if self.mode == Mode::Filter {
            return vec![
                theme.ink(Ink::Bold, "filter: "),
                Span::raw(filter.to_owned()),
                Span::styled(" ", theme.selected()),
                theme.ink(Ink::Dim, "  Enter keeps it, Esc clears it"),
            ];
        }
        let mut pieces = Vec::new();
        let mut left = usize::from(width);
        if !filter.is_empty() {
            let text = format!("/{filter}");
            left = left.saturating_sub(text.width());
            pieces.push(theme.ink(Ink::Warn, text));
        }
        for b in self.bindings().iter().filter(|b| self.works(b.when)) {
            let Some(word) = b.footer else { continue };
            let gap = if pieces.is_empty() { "" } else { "  " };
            let key = b.label.split(' ').next().unwrap_or(b.label);
            let needed = gap.len() + key.width() + 1 + word.width();
            if needed > left {
                break;
            }
            left -= needed;
            pieces.push(Span::raw(gap));
            pieces.push(theme.ink(Ink::Bold, key));
            pieces.push(Span::raw(format!(" {word}")));
        }
        pieces
    }
}
