//! A table: columns and rows, sorted, filtered, and cut to the width there is.

use std::cmp::Ordering;

use unicode_width::UnicodeWidthStr;

use super::theme::Ink;

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its heading.
    pub(super) title: &'static str,
    /// Numbers stand to the right.
    pub(super) right: bool,
    /// The higher, the sooner it goes when there is no room; 0 stays.
    pub(super) spare: u8,
}

/// A column of text.
pub(super) fn text(title: &'static str, spare: u8) -> Column {
    Column {
        title,
        right: false,
        spare,
    }
}

/// A column of numbers.
pub(super) fn right(title: &'static str, spare: u8) -> Column {
    Column {
        title,
        right: true,
        spare,
    }
}

/// What a cell sorts by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
    /// Not known: after all else, whichever way it goes.
    Unknown,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    /// What is shown.
    pub(super) text: String,
    /// What it sorts by.
    pub(super) value: Value,
    /// How it looks.
    pub(super) ink: Ink,
}

impl Cell {
    /// Text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            value: Value::Text(text.to_lowercase()),
            text,
            ink: Ink::Plain,
        }
    }

    /// A number, and how it is shown; `None`: not known.
    pub(super) fn number(n: Option<f64>, show: impl FnOnce(f64) -> String) -> Self {
        match n {
            Some(n) => Self {
                text: show(n),
                value: Value::Number(n),
                ink: if n == 0.0 { Ink::Dim } else { Ink::Plain },
            },
            None => Self {
                text: "-".into(),
                value: Value::Unknown,
                ink: Ink::Dim,
            },
        }
    }

    /// The same in another ink.
    #[must_use]
    pub(super) fn ink(mut self, ink: Ink) -> Self {
        self.ink = ink;
        self
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What it is, so that it stays selected when rows move.
    pub(super) key: String,
    /// One for each column.
    pub(super) cells: Vec<Cell>,
    /// What there is to say of it, in lines.
    pub(super) detail: Vec<String>,
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Its columns.
    pub(super) columns: Vec<Column>,
    /// Its rows.
    pub(super) rows: Vec<Row>,
    /// The column it is sorted by when nobody says otherwise; `None`: as they come.
    pub(super) sort: Option<usize>,
    /// In place of rows where there are none.
    pub(super) empty: String,
}

impl Table {
    /// Leaves the rows that have `filter` in one of their cells.
    pub(super) fn filter(&mut self, filter: &str) {
        let filter = filter.to_lowercase();
        if !filter.is_empty() {
            self.rows.retain(|r| {
                r.cells
                    .iter()
                    .any(|c| c.text.to_lowercase().contains(&filter))
            });
        }
    }

    /// Sorts by a column: numbers from the largest, text from A; `reverse` turns it round.
    pub(super) fn sort(&mut self, column: usize, reverse: bool) {
        self.rows.sort_by(|a, b| {
            let (Some(a), Some(b)) = (a.cells.get(column), b.cells.get(column)) else {
                return Ordering::Equal;
            };
            let turn = |o: Ordering| if reverse { o.reverse() } else { o };
            match (&a.value, &b.value) {
                (Value::Number(a), Value::Number(b)) => turn(b.total_cmp(a)),
                (Value::Text(a), Value::Text(b)) => turn(a.cmp(b)),
                (Value::Unknown, Value::Unknown) => Ordering::Equal,
                (Value::Unknown, _) => Ordering::Greater,
                (_, Value::Unknown) => Ordering::Less,
                (Value::Number(_), _) => Ordering::Less,
                (_, Value::Number(_)) => Ordering::Greater,
            }
        });
    }

    /// The columns that fit `width`, with the width of each. What is left over goes to the last
    /// column of text; what lacks is taken from the widest text.
    pub(super) fn fit(&self, width: usize) -> Vec<(usize, usize)> {
        let natural = |i: usize| {
            let cells = self.rows.iter().filter_map(|r| r.cells.get(i));
            let widest = cells.map(|c| c.text.width()).max().unwrap_or(0);
            // Room for the mark of the sorted column.
            widest.max(self.columns[i].title.width() + 1)
        };
        let least = |i: usize, w: usize| if self.columns[i].right { w } else { w.min(12) };
        let mut shown: Vec<(usize, usize)> =
            (0..self.columns.len()).map(|i| (i, natural(i))).collect();
        let gaps = |n: usize| 2 * n.saturating_sub(1);
        loop {
            let needed: usize =
                shown.iter().map(|(i, w)| least(*i, *w)).sum::<usize>() + gaps(shown.len());
            let worst = shown
                .iter()
                .map(|(i, _)| self.columns[*i].spare)
                .max()
                .unwrap_or(0);
            if needed <= width || worst == 0 {
                break;
            }
            if let Some(place) = shown
                .iter()
                .rposition(|(i, _)| self.columns[*i].spare == worst)
            {
                shown.remove(place);
            }
        }
        let total = |shown: &[(usize, usize)]| {
            shown.iter().map(|(_, w)| w).sum::<usize>() + gaps(shown.len())
        };
        while total(&shown) > width {
            let widest = shown
                .iter_mut()
                .filter(|(i, w)| !self.columns[*i].right && *w > 4)
                .max_by_key(|(_, w)| *w);
            match widest {
                Some((_, w)) => *w -= 1,
                None => break,
            }
        }
        shown
    }
}

/// Text cut to `width`, with a mark that it was.
pub(super) fn cut(text: &str, width: usize, ascii: bool) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mark = if ascii { "~" } else { "…" };
    let mut cut = String::new();
    for ch in text.chars() {
        if cut.width() + unicode_width::UnicodeWidthChar::width(ch).unwrap_or(0) + 1 > width {
            break;
        }
        cut.push(ch);
    }
    if width > 0 {
        cut.push_str(mark);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |name: &str, n: Option<f64>| Row {
            key: name.into(),
            cells: vec![Cell::text(name), Cell::number(n, |n| n.to_string())],
            detail: Vec::new(),
        };
        Table {
            columns: vec![text("name", 0), right("n", 1)],
            rows: vec![row("b", Some(1.0)), row("a", None), row("c", Some(5.0))],
            sort: Some(1),
            empty: String::new(),
        }
    }

    fn names(t: &Table) -> String {
        t.rows.iter().map(|r| r.key.as_str()).collect()
    }

    #[test]
    fn the_unknown_is_last_either_way() {
        let mut t = table();
        t.sort(1, false);
        assert_eq!(names(&t), "cba");
        t.sort(1, true);
        assert_eq!(names(&t), "bca");
        t.sort(0, false);
        assert_eq!(names(&t), "abc");
    }

    #[test]
    fn what_has_no_room_goes() {
        let t = table();
        assert_eq!(t.fit(80).len(), 2);
        assert_eq!(t.fit(6).len(), 1);
        let mut t = table();
        t.filter("C");
        assert_eq!(names(&t), "c");
    }

    #[test]
    fn cutting_keeps_to_the_width() {
        assert_eq!(cut("abcdef", 4, false), "abc…");
        assert_eq!(cut("abcdef", 4, true), "abc~");
        assert_eq!(cut("日本語", 4, false), "日…");
        assert_eq!(cut("abc", 3, false), "abc");
    }
}
