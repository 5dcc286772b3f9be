//! A page of text: lines, wrapped text and tables that fit a width.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The narrowest page; smaller widths are raised to this.
const NARROWEST: usize = 60;
/// The blanks before and between the columns of a table.
const GAP: usize = 2;

/// The style of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour. Colour never carries information that words do not.
    pub color: bool,
    /// Whether to use ASCII only.
    pub ascii: bool,
    /// The width in columns, at least 60.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            color: false,
            ascii: false,
            width: 80,
        }
    }
}

/// The style of a piece of text where colour is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Bold,
    Dim,
    Bad,
    Warn,
    Good,
    Bar,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Ink::Plain => "",
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Bad => "1;31",
            Ink::Warn => "33",
            Ink::Good => "32",
            Ink::Bar => "36",
        }
    }
}

/// A piece of text.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    ink: Ink,
    text: String,
}

impl Span {
    pub(crate) fn new(ink: Ink, text: impl Into<String>) -> Self {
        Self {
            ink,
            text: text.into(),
        }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(Ink::Plain, text)
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    head: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Left,
    Right,
    /// Shrinks where the page is too narrow, and loses its end.
    Text,
    /// Shrinks likewise, but loses its beginning.
    Path,
    /// Left out where the page is too narrow.
    Note,
}

impl Column {
    pub(crate) const fn left(head: &'static str) -> Self {
        Self {
            head,
            kind: Kind::Left,
        }
    }

    pub(crate) const fn right(head: &'static str) -> Self {
        Self {
            head,
            kind: Kind::Right,
        }
    }

    pub(crate) const fn text(head: &'static str) -> Self {
        Self {
            head,
            kind: Kind::Text,
        }
    }

    pub(crate) const fn note(head: &'static str) -> Self {
        Self {
            head,
            kind: Kind::Note,
        }
    }

    pub(crate) const fn path(head: &'static str) -> Self {
        Self {
            head,
            kind: Kind::Path,
        }
    }
}

/// A page under construction.
#[derive(Debug)]
pub(crate) struct Page {
    style: Style,
    out: String,
}

impl Page {
    pub(crate) fn new(style: Style) -> Self {
        Self {
            style: Style {
                width: style.width.max(NARROWEST),
                ..style
            },
            out: String::new(),
        }
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    pub(crate) fn style(&self) -> Style {
        self.style
    }

    pub(crate) fn blank(&mut self) {
        self.out.push('\n');
    }

    /// Adds one line, cut off at the width.
    pub(crate) fn line(&mut self, spans: &[Span]) {
        let mut left = self.style.width;
        let end = self.out.len();
        for span in spans {
            let text = self.clean(&cut_end(&self.clean(&span.text), left));
            left -= text.width();
            self.paint(span.ink, &text);
        }
        // No trailing blanks.
        let kept = self.out[end..].trim_end_matches(' ').len();
        self.out.truncate(end + kept);
        self.blank();
    }

    /// Adds a heading with a note beside it, after a blank line.
    pub(crate) fn heading(&mut self, text: &str, note: &str) {
        self.blank();
        if note.is_empty() {
            self.line(&[Span::new(Ink::Bold, text)]);
        } else {
            let room = self.style.width.saturating_sub(text.width() + 2);
            if note.width() <= room {
                self.line(&[
                    Span::new(Ink::Bold, text),
                    Span::plain("  "),
                    Span::new(Ink::Dim, note),
                ]);
            } else {
                self.line(&[Span::new(Ink::Bold, text)]);
                self.wrapped("  ", "  ", Ink::Dim, note);
            }
        }
    }

    /// Adds text broken at blanks; `first` precedes its first line, `next` the following ones.
    pub(crate) fn wrapped(&mut self, first: &str, next: &str, ink: Ink, text: &str) {
        let room = self
            .style
            .width
            .saturating_sub(first.width().max(next.width()))
            .max(1);
        let text = self.clean(text);
        let mut lead = first;
        for line in wrap(&text, room) {
            self.line(&[Span::plain(lead), Span::new(ink, line)]);
            lead = next;
        }
    }

    /// Adds a table, without the line of heads if all are empty.
    pub(crate) fn table(&mut self, columns: &[Column], rows: &[Vec<Span>]) {
        let rows: Vec<Vec<Span>> = rows
            .iter()
            .map(|row| {
                row.iter()
                    .map(|s| Span::new(s.ink, self.clean(&s.text)))
                    .collect()
            })
            .collect();
        let widths = self.widths(columns, &rows);
        if columns.iter().any(|c| !c.head.is_empty()) {
            let heads = columns
                .iter()
                .map(|c| Span::new(Ink::Dim, c.head))
                .collect::<Vec<_>>();
            self.row(columns, &widths, &heads);
        }
        for row in &rows {
            self.row(columns, &widths, row);
        }
    }

    fn widths(&self, columns: &[Column], rows: &[Vec<Span>]) -> Vec<usize> {
        let mut widths: Vec<usize> = columns.iter().map(|c| c.head.width()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let gives = |c: &Column| matches!(c.kind, Kind::Text | Kind::Path);
        let total = |w: &[usize]| {
            let used = w.iter().filter(|w| **w > 0);
            used.map(|w| w + GAP).sum::<usize>()
        };
        for i in 0..columns.len() {
            if columns[i].kind == Kind::Note && total(&widths) > self.style.width {
                widths[i] = 0;
            }
        }
        // The widest shrinking column gives way first, down to the width of its head.
        while total(&widths) > self.style.width {
            let widest = (0..columns.len())
                .filter(|&i| gives(&columns[i]) && widths[i] > columns[i].head.width().max(6))
                .max_by_key(|&i| widths[i]);
            let Some(i) = widest else { break };
            widths[i] -= 1;
        }
        widths
    }

    fn row(&mut self, columns: &[Column], widths: &[usize], cells: &[Span]) {
        let mut spans = Vec::with_capacity(cells.len() * 2);
        for ((column, &width), cell) in columns.iter().zip(widths).zip(cells) {
            if width == 0 {
                continue;
            }
            let text = match column.kind {
                Kind::Path => cut_start(&cell.text, width),
                _ => cut_end(&cell.text, width),
            };
            let pad = " ".repeat(width.saturating_sub(text.width()));
            spans.push(Span::plain(" ".repeat(GAP)));
            if column.kind == Kind::Right {
                spans.extend([Span::plain(pad), Span::new(cell.ink, text)]);
            } else {
                spans.extend([Span::new(cell.ink, text), Span::plain(pad)]);
            }
        }
        self.line(&spans);
    }

    fn paint(&mut self, ink: Ink, text: &str) {
        if self.style.color && ink != Ink::Plain && !text.trim().is_empty() {
            self.out.push_str("\x1b[");
            self.out.push_str(ink.code());
            self.out.push('m');
            self.out.push_str(text);
            self.out.push_str("\x1b[0m");
        } else {
            self.out.push_str(text);
        }
    }

    /// Replaces characters that move a cursor or take no room: others choose comms and cgroup
    /// names. In ASCII mode, replaces our own signs by similar ones.
    fn clean(&self, text: &str) -> String {
        text.chars()
            .map(|c| match c {
                ' '..='~' => c,
                _ if is_hidden(c) => '?',
                _ if !self.style.ascii => c,
                '·' => '|',
                '…' => '~',
                'µ' => 'u',
                '→' => '>',
                '✓' => '+',
                '✗' => 'x',
                '⋮' => ':',
                '█' | '▉' | '▊' | '▋' | '▌' => '#',
                '▍' | '▎' | '▏' => '.',
                _ => '?',
            })
            .collect()
    }
}

/// Control, zero-width and direction-changing characters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || c.width().unwrap_or(0) == 0
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cuts the end of `text` off to fit `width`, marked with `…`.
fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// Cuts the beginning of `text` off to fit `width`, marked with `…`.
fn cut_start(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let reversed: String = text.chars().rev().collect();
    cut_end(&reversed, width).chars().rev().collect()
}

/// Units that are never separated from the number before them.
const UNITS: [&str; 15] = [
    "%", "ns", "µs", "us", "ms", "s", "min", "h", "B", "KiB", "MiB", "GiB", "TiB", "folios",
    "unmaps",
];

/// Breaks `text` at blanks, and overlong words where the line is full.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|c: char| c != '%' && !c.is_alphanumeric());
        match words.last_mut() {
            Some(last)
                if UNITS.contains(&bare) && last.ends_with(|c: char| c.is_ascii_digit())
                    || last == "(pid"
                    || last == "--" =>
            {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    let mut lines = vec![String::new()];
    for word in words {
        let mut rest = word.as_str();
        while let Some(line) = lines.last_mut() {
            let gap = usize::from(!line.is_empty());
            if line.width() + gap + rest.width() <= width {
                if gap == 1 {
                    line.push(' ');
                }
                line.push_str(rest);
                break;
            }
            if gap == 1 {
                lines.push(String::new());
                continue;
            }
            let mut used = 0;
            let fits = rest.char_indices().find(|(_, c)| {
                used += c.width().unwrap_or(0);
                used > width
            });
            // Break a path after a slash if possible. A character wider than the line never fits,
            // so it is taken anyway.
            let at = fits.map_or(rest.len(), |(i, c)| if i == 0 { c.len_utf8() } else { i });
            let slash = rest[..at].rfind('/').map(|i| i + 1);
            let at = slash
                .filter(|i| at < rest.len() && *i > at / 2)
                .unwrap_or(at);
            line.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.is_empty() {
                break;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// The width of the widest line, without colour codes.
#[cfg(test)]
pub(crate) fn widest(text: &str) -> usize {
    text.lines()
        .map(|line| strip(line).width())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
fn strip(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(|c| *c == 'm');
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_written_fits(text in "\\PC{0,200}", raw in ".{0,100}", ascii: bool, color: bool) {
            let mut page = Page::new(Style { color, ascii, width: 60 });
            page.wrapped("  ", "    ", Ink::Bad, &text);
            page.line(&[Span::plain(&*raw), Span::new(Ink::Bar, &*text)]);
            page.heading("Heading", &raw);
            page.table(
                &[Column::left("a"), Column::right("b"), Column::path("c")],
                &[vec![Span::plain(&*raw), Span::plain("1"), Span::plain(&*text)]],
            );
            let out = page.finish();
            prop_assert!(widest(&out) <= 60, "{out}");
            prop_assert!(!ascii || out.is_ascii());
            prop_assert!(color || !out.contains('\x1b'));
        }
    }

    #[test]
    fn numbers_keep_their_units() {
        assert_eq!(
            wrap("was futile (75 %), yes", 12),
            ["was futile", "(75 %), yes"]
        );
        assert_eq!(wrap("", 12), [""]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
    }

    #[test]
    fn paths_lose_their_beginning() {
        assert_eq!(cut_start("/system.slice/a.service", 10), "…a.service");
        assert_eq!(cut_end("abcdef", 4), "abc…");
        assert_eq!(cut_end("abcdef", 0), "");
    }
}
