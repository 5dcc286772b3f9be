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
        if !filter.is_empty() {
            pieces.push(theme.ink(Ink::Warn, format!("/{filter}  ")));
        }
        let mut left = usize::from(width) + 1;
        for b in self.bindings().iter().filter(|b| self.works(b.when)) {
            let Some(word) = b.footer else { continue };
            let key = b.label.split(' ').next().unwrap_or(b.label);
            left = left.saturating_sub(key.width() + word.width() + 1);
            if left == 0 {
                break;
            }
            left = left.saturating_sub(2);
            pieces.push(theme.ink(Ink::Bold, key));
            pieces.push(Span::raw(format!(" {word}  ")));
        }
        pieces
    }
}
