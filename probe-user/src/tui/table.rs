//! A table: columns and rows, sorted, filtered, and fitted to a width.

use std::cmp::Ordering;

use unicode_width::UnicodeWidthStr;

use super::theme::Ink;

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The heading.
    pub(super) title: &'static str,
    /// Whether cells are aligned to the right, as numbers are.
    pub(super) right: bool,
    /// How dispensable the column is: the highest goes first when there is no room; 0 stays.
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

/// The value by which a cell is sorted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
    /// Unknown: last in either order.
    Unknown,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    /// The text shown.
    pub(super) text: String,
    /// The value sorted by.
    pub(super) value: Value,
    /// The ink of the text.
    pub(super) ink: Ink,
}

impl Cell {
    /// A cell of text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            value: Value::Text(text.to_lowercase()),
            text,
            ink: Ink::Plain,
        }
    }

    /// A cell of optional text; `None`: unknown.
    pub(super) fn known(text: Option<impl Into<String>>) -> Self {
        text.map_or_else(Self::unknown, Self::text)
    }

    /// A cell whose value is unknown.
    pub(super) fn unknown() -> Self {
        Self {
            text: "-".into(),
            value: Value::Unknown,
            ink: Ink::Dim,
        }
    }

    /// A number, shown by `show`; `None`: unknown.
    pub(super) fn number(n: Option<f64>, show: impl FnOnce(f64) -> String) -> Self {
        match n {
            Some(n) => Self {
                text: show(n),
                value: Value::Number(n),
                ink: if n == 0.0 { Ink::Dim } else { Ink::Plain },
            },
            None => Self::unknown(),
        }
    }

    /// The same cell in another ink.
    #[must_use]
    pub(super) fn ink(mut self, ink: Ink) -> Self {
        self.ink = ink;
        self
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The row's identity, by which it stays selected when rows move.
    pub(super) key: String,
    /// One cell for each column.
    pub(super) cells: Vec<Cell>,
    /// The lines of the detail pane.
    pub(super) detail: Vec<String>,
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The columns, from the left.
    pub(super) columns: Vec<Column>,
    /// The rows, from the top.
    pub(super) rows: Vec<Row>,
    /// The column to sort by unless the user chooses another; `None` keeps the order of rows.
    pub(super) sort: Option<usize>,
    /// The text in place of the rows where there are none.
    pub(super) empty: String,
}

impl Table {
    /// Keeps the rows with `filter` in one of their cells.
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

    /// Sorts by a column: numbers from the largest, text from A; `reverse` reverses both.
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

    /// The columns that fit into `width`, with the width of each. Dispensable columns go first,
    /// then the widest columns of text shrink.
    pub(super) fn fit(&self, width: usize) -> Vec<(usize, usize)> {
        let natural = |i: usize| {
            let cells = self.rows.iter().filter_map(|r| r.cells.get(i));
            let widest = cells.map(|c| c.text.width()).max().unwrap_or(0);
            // One more than the title, for the mark of the sorted column.
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
    fn dispensable_columns_go_first() {
        let t = table();
        assert_eq!(t.fit(80).len(), 2);
        assert_eq!(t.fit(6).len(), 1);
        let mut t = table();
        t.filter("C");
        assert_eq!(names(&t), "c");
    }
}
