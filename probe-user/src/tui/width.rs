//! Text cut and padded to columns of the terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Cuts text to `width`, and marks that it was cut.
pub(super) fn cut(text: &str, width: usize, ascii: bool) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mark = if ascii { "~" } else { "…" };
    let mut cut = String::new();
    for ch in text.chars() {
        if cut.width() + ch.width().unwrap_or(0) + 1 > width {
            break;
        }
        cut.push(ch);
    }
    if width > 0 {
        cut.push_str(mark);
    }
    cut
}

/// Text on the right of `width` columns.
pub(super) fn padded(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// Text cut and padded to exactly `width` columns.
pub(super) fn aligned(text: &str, width: usize, right: bool, ascii: bool) -> String {
    let text = cut(text, width, ascii);
    if right {
        return padded(&text, width);
    }
    let fill = " ".repeat(width.saturating_sub(text.width()));
    format!("{text}{fill}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_keeps_to_the_width() {
        assert_eq!(cut("abcdef", 4, false), "abc…");
        assert_eq!(cut("abcdef", 4, true), "abc~");
        assert_eq!(cut("日本語", 4, false), "日…");
        assert_eq!(cut("abc", 3, false), "abc");
    }

    #[test]
    fn aligned_text_is_as_wide_as_its_column() {
        assert_eq!(aligned("ab", 4, false, false), "ab  ");
        assert_eq!(aligned("ab", 4, true, false), "  ab");
        assert_eq!(aligned("abcdef", 4, true, false), "abc…");
    }
}
