//! What the dashboard holds, and how it takes in samples.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use tui_input::Input as Line;

use super::{
    keymap,
    keys::{Binding, When},
    table::Table,
    theme::Theme,
    views::{Material, Scale, VIEWS, View},
};
use crate::{
    model::{Capture, History, Window},
    recording::{Frame, time_of},
    snapshot::{Event, Host, Snapshot},
};

/// The number of events that are kept.
const EVENTS: usize = 500;

/// Where the samples come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    /// The live kernel.
    Live {
        /// The sampling interval.
        interval: Duration,
    },
    /// A recording.
    Replay {
        /// The sample shown, from 0.
        index: usize,
        /// The number of samples.
        count: usize,
        /// The speed of the replay; 1: as recorded.
        speed: f64,
        /// Why the recording is incomplete, if it is.
        incomplete: Option<String>,
    },
}

/// What the keys act on.
#[derive(Debug, PartialEq)]
pub(super) enum Mode {
    /// The table.
    Table,
    /// The filter, as it is typed.
    Filter,
    /// The menu of columns, with the chosen one.
    Sort(usize),
    /// The menu of views, with the chosen one.
    Views(usize),
    /// The help, scrolled down by a number of lines.
    Help(u16),
    /// The selected row alone, scrolled down by a number of lines.
    Open(u16),
}

/// Selection, order, filter and switches of one view.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The index of the selected row.
    pub(super) selected: usize,
    /// The key of the selected row, by which it stays selected when rows move.
    pub(super) key: Option<String>,
    /// The column chosen to sort by.
    pub(super) sort: Option<usize>,
    /// Whether the order is reversed.
    pub(super) reverse: bool,
    /// The filter.
    pub(super) filter: Line,
    /// The view's switches that are on.
    pub(super) on: Vec<&'static str>,
}

/// The dashboard.
#[derive(Debug)]
pub struct Dashboard {
    pub(super) host: Host,
    start: SystemTime,
    pub(super) theme: Theme,
    pub(super) feed: Feed,
    pub(super) paused: bool,
    pub(super) rates: bool,
    /// The sample at which counting was restarted.
    pub(super) base: Option<Snapshot>,
    pub(super) previous: Option<Snapshot>,
    pub(super) now: Option<Snapshot>,
    pub(super) totals: Option<Capture>,
    /// What happened since the previous sample.
    pub(super) latest: Option<Capture>,
    pub(super) history: History,
    /// The latest events, newest first.
    events: VecDeque<Event>,
    pub(super) views: &'static [&'static View],
    /// The index of the view shown.
    pub(super) view: usize,
    pub(super) places: BTreeMap<usize, Place>,
    pub(super) mode: Mode,
    pub(super) message: Option<String>,
    /// Rows to a page.
    pub(super) page: usize,
}

impl Dashboard {
    /// An empty dashboard. `start`: when the probes were attached.
    pub fn new(host: Host, start: SystemTime, theme: Theme, feed: Feed) -> Self {
        let paused = matches!(feed, Feed::Replay { .. });
        Self {
            host,
            start,
            theme,
            feed,
            paused,
            rates: false,
            base: None,
            previous: None,
            now: None,
            totals: None,
            latest: None,
            history: History::default(),
            events: VecDeque::new(),
            views: VIEWS,
            view: 0,
            places: BTreeMap::new(),
            mode: Mode::Table,
            message: None,
            page: 10,
        }
    }

    /// Takes in the next sample. While paused, live samples are not shown; the totals include
    /// them after the pause.
    pub fn feed(&mut self, frame: Frame) {
        for event in frame.events {
            self.events.push_front(event);
        }
        self.events.truncate(EVENTS);
        if self.paused && matches!(self.feed, Feed::Live { .. }) && self.now.is_some() {
            return;
        }
        self.history.push(self.now.as_ref(), &frame.snapshot);
        self.previous = self.now.replace(frame.snapshot);
        self.count();
    }

    /// Forgets all samples. To show another place of a recording, feed the samples before it
    /// again.
    pub fn rewind(&mut self) {
        self.history.clear();
        self.events.clear();
        self.now = None;
        self.previous = None;
    }

    /// Sets which sample of the recording is shown.
    pub fn at(&mut self, shown: usize) {
        if let Feed::Replay { index, count, .. } = &mut self.feed {
            *index = shown;
            if shown + 1 >= *count {
                self.paused = true;
            }
        }
    }

    /// Shows a message until the next key.
    pub fn say(&mut self, message: impl Into<String>) {
        self.message = Some(message.into());
    }

    /// The speed of a replay that is playing.
    pub fn playing(&self) -> Option<f64> {
        match &self.feed {
            Feed::Replay { speed, .. } if !self.paused => Some(*speed),
            _ => None,
        }
    }

    /// The counts since the start, or since counting was restarted.
    pub fn totals(&self) -> Option<&Capture> {
        self.totals.as_ref()
    }

    /// The view shown.
    pub fn view(&self) -> &'static View {
        self.views[self.view]
    }

    /// All keys, in the order of the help.
    pub fn bindings(&self) -> Vec<Binding> {
        keymap::bindings(self.views)
    }

    /// Computes the captures that are shown.
    pub(super) fn count(&mut self) {
        let Some(now) = &self.now else { return };
        let capture = |first: Option<&Snapshot>| {
            let from = first.map_or(0.0, |s| s.elapsed);
            let window = Window::new(time_of(self.start, from), now.elapsed - from);
            Capture::between(&self.host, window, first, now, &[])
        };
        // A replay may have gone back to before the restart of counting.
        let base = self.base.as_ref().filter(|b| b.elapsed <= now.elapsed);
        self.totals = Some(capture(base));
        self.latest = Some(capture(self.previous.as_ref()));
    }

    /// Whether a binding works now.
    pub(super) fn works(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Live => matches!(self.feed, Feed::Live { .. }),
            When::Replay => matches!(self.feed, Feed::Replay { .. }),
            When::View(name) => self.view().name == name,
        }
    }

    /// The place of the view shown, if it has one yet.
    pub(super) fn place(&self) -> Option<&Place> {
        self.places.get(&self.view)
    }

    /// The place of the view shown.
    pub(super) fn place_mut(&mut self) -> &mut Place {
        self.places.entry(self.view).or_default()
    }

    /// The filter of the view shown.
    pub(super) fn filter(&self) -> &str {
        self.place().map_or("", |p| p.filter.value())
    }

    /// The capture shown: rates come from the latest sample.
    pub(super) fn capture(&self) -> Option<&Capture> {
        if self.rates {
            self.latest.as_ref()
        } else {
            self.totals.as_ref()
        }
    }

    /// What the view shown is made of; `None` before the first sample.
    pub(super) fn material(&self) -> Option<Material<'_>> {
        let capture = self.capture()?;
        Some(Material {
            capture,
            totals: self.totals.as_ref()?,
            scale: Scale {
                per: self.rates.then_some(capture.window.seconds),
            },
            events: &self.events,
            history: &self.history,
            on: self.place().map_or(&[], |p| p.on.as_slice()),
            views: self.views,
        })
    }

    /// The table of the view shown, filtered and sorted.
    pub(super) fn table(&self) -> Option<Table> {
        let mut table = (self.view().table)(&self.material()?);
        let place = self.place();
        table.filter(self.filter());
        let sort = place.and_then(|p| p.sort).or(table.sort);
        if let Some(column) = sort {
            table.sort(column, place.is_some_and(|p| p.reverse));
        }
        table.sort = sort;
        Some(table)
    }

    /// The index of the selected row, which may have moved; where it is gone, the row in its
    /// place.
    pub(super) fn selected(&self, table: &Table) -> usize {
        let Some(place) = self.place() else {
            return 0;
        };
        let moved = place
            .key
            .as_ref()
            .and_then(|key| table.rows.iter().position(|r| r.key == *key));
        moved
            .unwrap_or(place.selected)
            .min(table.rows.len().saturating_sub(1))
    }
}
