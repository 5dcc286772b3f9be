//! How things look: the terminal's own 16 colours, no backgrounds, and nothing by colour alone.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    /// Plain.
    #[default]
    Plain,
    /// Of less weight.
    Dim,
    /// A heading.
    Bold,
    /// In vain.
    Bad,
    /// Worth a look.
    Warn,
    /// As it should be.
    Good,
    /// Drawn.
    Bar,
}

/// The terminal's abilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether it shows colours.
    pub color: bool,
    /// Whether it shows nothing but ASCII.
    pub ascii: bool,
}

impl Theme {
    /// The style of an ink.
    pub fn style(self, ink: Ink) -> Style {
        let plain = Style::new();
        let colored = |color| if self.color { plain.fg(color) } else { plain };
        match ink {
            Ink::Plain => plain,
            // "Dim" is unreadable on some terminals where it isn't grey on the other half.
            Ink::Dim => colored(Color::DarkGray),
            Ink::Bold => plain.add_modifier(Modifier::BOLD),
            Ink::Bad => colored(Color::Red).add_modifier(Modifier::BOLD),
            Ink::Warn => colored(Color::Yellow),
            Ink::Good => colored(Color::Green),
            Ink::Bar => colored(Color::Cyan),
        }
    }

    /// The style of the row that is selected.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A sparkline of values in one row; the last `width` of them. What isn't known is a gap.
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

    /// A bar of `part` of `whole` in `width` columns.
    pub fn bar(self, part: f64, whole: f64, width: usize) -> String {
        if whole <= 0.0 || part <= 0.0 {
            return String::new();
        }
        let n = ((part / whole).min(1.0) * width as f64).round().max(1.0) as usize;
        let mark = if self.ascii { "#" } else { "█" };
        mark.repeat(n)
    }

    /// One cell of a heat map: `part` of the most there is.
    pub fn heat(self, part: u32, most: u32) -> char {
        const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
        const ASCII: [char; 5] = [' ', '.', 'o', 'O', '#'];
        let shades = if self.ascii { ASCII } else { SHADES };
        if part == 0 || most == 0 {
            return shades[0];
        }
        // By magnitude: a rare slow unmap is what one looks for.
        let share = f64::from(part).ln_1p() / f64::from(most).ln_1p();
        shades[((share * 4.0).ceil() as usize).clamp(1, 4)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings() {
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
