//! Colours and marks: the terminal's own 16 colours, no backgrounds, and no meaning by colour
//! alone.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

use super::width::cut;

/// The role of a piece of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    /// Ordinary text.
    #[default]
    Plain,
    /// Less important text.
    Dim,
    /// A heading.
    Bold,
    /// Futile work.
    Bad,
    /// Something to look into.
    Warn,
    /// As it should be.
    Good,
    /// A bar, a sparkline or a heat map.
    Bar,
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether to use colours.
    pub color: bool,
    /// Whether to keep to ASCII.
    pub ascii: bool,
}

impl Theme {
    /// The style of an ink.
    pub fn style(self, ink: Ink) -> Style {
        let plain = Style::new();
        let colored = |color| if self.color { plain.fg(color) } else { plain };
        match ink {
            Ink::Plain => plain,
            // The attribute "dim" is unreadable on some terminals and has no effect on others.
            Ink::Dim => colored(Color::DarkGray),
            Ink::Bold => plain.add_modifier(Modifier::BOLD),
            Ink::Bad => colored(Color::Red).add_modifier(Modifier::BOLD),
            Ink::Warn => colored(Color::Yellow),
            Ink::Good => colored(Color::Green),
            Ink::Bar => colored(Color::Cyan),
        }
    }

    /// The style of the selected row.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Text in an ink.
    pub(super) fn ink(self, ink: Ink, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(ink))
    }

    /// The mark between the parts of a line.
    pub(super) fn dot(self) -> &'static str {
        if self.ascii { " | " } else { " · " }
    }

    /// A rule with a title.
    pub(super) fn rule(self, title: &str, width: u16) -> Vec<Span<'static>> {
        let line = if self.ascii { "-" } else { "─" };
        let title = cut(title, usize::from(width.saturating_sub(4)), self.ascii);
        let rest = usize::from(width).saturating_sub(2 + title.width());
        vec![
            self.ink(Ink::Dim, line.repeat(2)),
            self.ink(Ink::Bold, title),
            self.ink(Ink::Dim, line.repeat(rest)),
        ]
    }

    /// Draws one line, cut to the width of `area`.
    pub(super) fn line(self, frame: &mut Frame, area: Rect, pieces: Vec<Span<'static>>) {
        let mut left = usize::from(area.width);
        let mut shown = Vec::new();
        for piece in pieces {
            let text = cut(&piece.content, left, self.ascii);
            left -= text.width();
            shown.push(Span::styled(text, piece.style));
            if left == 0 {
                break;
            }
        }
        frame.render_widget(Paragraph::new(Line::from(shown)), area);
    }

    /// A sparkline of the last `width` values. An unknown value leaves a gap.
    pub fn sparkline(self, values: &[Option<f64>], width: usize) -> String {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const ASCII: [char; 8] = ['.', '.', ':', '-', '=', '+', '*', '#'];
        let steps = if self.ascii { ASCII } else { BLOCKS };
        let shown = &values[values.len().saturating_sub(width)..];
        let most = shown.iter().flatten().copied().fold(0.0, f64::max);
        let mut line: String = " ".repeat(width - shown.len());
        line.extend(shown.iter().map(|v| match v {
            None => ' ',
            Some(v) if most <= 0.0 || *v <= 0.0 => steps[0],
            Some(v) => steps[((v / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
        }));
        line
    }

    /// A bar for `part` of `whole`, which fills `width` columns.
    pub fn bar(self, part: f64, whole: f64, width: usize) -> String {
        if whole <= 0.0 || part <= 0.0 {
            return String::new();
        }
        let n = ((part / whole).min(1.0) * width as f64).round().max(1.0) as usize;
        let mark = if self.ascii { "#" } else { "█" };
        mark.repeat(n)
    }

    /// One cell of a heat map whose largest value is `most`.
    pub fn heat(self, part: u32, most: u32) -> char {
        const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
        const ASCII: [char; 5] = [' ', '.', 'o', 'O', '#'];
        let shades = if self.ascii { ASCII } else { SHADES };
        if part == 0 || most == 0 {
            return shades[0];
        }
        // On a log scale, so that a rare slow unmap shows.
        let share = f64::from(part).ln_1p() / f64::from(most).ln_1p();
        shades[((share * 4.0).ceil() as usize).clamp(1, 4)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparkline_bar_and_heat() {
        let theme = Theme {
            color: false,
            ascii: false,
        };
        assert_eq!(
            theme.sparkline(&[Some(0.0), None, Some(4.0), Some(8.0)], 5),
            " ▁ ▄█"
        );
        assert_eq!(theme.bar(1.0, 1e9, 10), "█");
        assert_eq!(theme.heat(1, 1_000_000), '░');
        assert_eq!(theme.heat(0, 5), ' ');
        assert_eq!(theme.heat(5, 5), '█');
    }
}
