//! What a view is, and what it is made of.

use std::{collections::VecDeque, fmt};

use ratatui::{Frame, layout::Rect};

use super::format::Scale;
use crate::{
    model::{Capture, History},
    snapshot::Event,
    tui::{
        keys::{Binding, digit},
        table::{Row, Table},
        theme::Theme,
    },
};

/// A view of the dashboard.
pub struct View {
    /// The name, on its tab.
    pub(in crate::tui) name: &'static str,
    /// The name where there is little room: at most five letters.
    pub(in crate::tui) short: &'static str,
    /// The line of the help and of the menu: `name: what it shows`.
    pub(in crate::tui) help: &'static str,
    /// The table.
    pub(in crate::tui) table: fn(&Material) -> Table,
    /// The column whose cell is the title of the detail pane.
    pub(in crate::tui) title: usize,
    /// The content of the detail pane.
    pub(in crate::tui) detail: Detail,
    /// The keys that only this view has. A [`Command::Switch`] needs no more code: the table
    /// asks [`Material::on`].
    ///
    /// [`Command::Switch`]: crate::tui::keys::Command::Switch
    pub(in crate::tui) keys: &'static [Binding],
}

impl View {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.name).finish()
    }
}

/// The content of the detail pane.
pub(in crate::tui) enum Detail {
    /// The lines of the selected row.
    Row,
    /// Lines that come from more than the row.
    Lines(fn(&Material, &Row) -> Vec<String>),
    /// A drawing. It gets all the room that the rows leave, and follows the cells of an opened
    /// row.
    Drawing(fn(&mut Frame, Rect, &Material, &Row, Theme)),
}

/// What views are made of.
pub(in crate::tui) struct Material<'a> {
    /// The counts shown: totals, or those since the previous sample.
    pub(in crate::tui) capture: &'a Capture,
    /// The totals, in either case.
    pub(in crate::tui) totals: &'a Capture,
    /// Totals or rates.
    pub(in crate::tui) scale: Scale,
    /// The latest events, newest first.
    pub(in crate::tui) events: &'a VecDeque<Event>,
    /// The last minutes.
    pub(in crate::tui) history: &'a History,
    /// The view's switches that are on.
    pub(in crate::tui) on: &'a [&'static str],
    /// All views of the dashboard.
    pub(in crate::tui) views: &'static [&'static View],
}

impl Material<'_> {
    /// Whether a switch of the view is on.
    pub(in crate::tui) fn on(&self, switch: &str) -> bool {
        self.on.contains(&switch)
    }

    /// A reference to another view: `hooks (8)`.
    pub(in crate::tui) fn see(&self, view: &View) -> String {
        format!("{} ({})", view.name, key_of(self.views, view))
    }

    /// What explains an unknown value.
    pub(in crate::tui) fn why_unknown(&self, unknown: bool) -> Vec<String> {
        if !unknown {
            return Vec::new();
        }
        self.capture
            .not_measured
            .iter()
            .map(|g| format!("not measured: {}: {}", g.what, g.why))
            .collect()
    }
}

/// The key that shows `view`: its digit, or the menu's.
pub(in crate::tui) fn key_of(views: &[&View], view: &View) -> &'static str {
    let place = views.iter().position(|v| v.name == view.name);
    place.and_then(digit).map_or("v", |(label, _)| label)
}

/// A registry of twelve views, for tests.
#[cfg(test)]
pub(in crate::tui) fn twelve() -> &'static [&'static View] {
    const NAMES: [(&str, &str); 12] = [
        ("one", "1st"),
        ("two", "2nd"),
        ("three", "3rd"),
        ("four", "4th"),
        ("five", "5th"),
        ("six", "6th"),
        ("seven", "7th"),
        ("eight", "8th"),
        ("nine", "9th"),
        ("ten", "10th"),
        ("eleven", "11th"),
        ("twelve", "12th"),
    ];
    let views = NAMES.map(|(name, short)| {
        let view: &'static View = Box::leak(Box::new(View {
            name,
            short,
            help: name,
            table: |_| Table {
                columns: Vec::new(),
                rows: Vec::new(),
                sort: None,
                empty: String::new(),
            },
            title: 0,
            detail: Detail::Row,
            keys: &[],
        }));
        view
    });
    Box::leak(Box::new(views))
}
