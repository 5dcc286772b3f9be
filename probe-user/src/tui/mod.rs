//! The live dashboard: state and drawing, without I/O and without a clock. It is fed looks and
//! keys, live or from a recording, and draws what it holds.
//!
//! ```text
//! status line      host, kernel, elapsed, hooks, lost, own cost, paused or live
//! summary strip    unmaps, in vain, notifier calls, time in vain; each with its last minutes
//! views            1 overview 2 victims …
//! main table
//! detail pane      what there is to say of the selected row
//! footer           the keys that work here
//! ```

mod distribution;
mod draw;
mod head;
pub mod keys;
mod popups;
mod table;
pub mod theme;
mod views;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use crossterm::event::{Event as Input, KeyEvent, KeyEventKind};
use tui_input::{Input as Line, backend::crossterm::EventHandler};

use self::{
    keys::{Command, When},
    table::Table,
    views::{Material, Scale},
};
use crate::{
    model::{Capture, History, Window},
    recording::{Frame, time_of},
    snapshot::{Event, Host, Snapshot},
};

pub use theme::Theme;
pub use views::View;

/// Events that are kept.
const EVENTS: usize = 500;
/// Speeds of a replay.
const SPEEDS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0];
/// Intervals between looks, in ms.
const INTERVALS: [u64; 8] = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000];

/// Where the looks come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The live kernel, looked at once in an interval.
    Live {
        /// How often.
        interval: Duration,
    },
    /// A recording.
    Replay {
        /// The look that is shown, from 0.
        index: usize,
        /// How many there are.
        count: usize,
        /// How many times faster than it happened it plays.
        speed: f64,
        /// Why it isn't whole, if so.
        incomplete: Option<String>,
    },
}

/// What the dashboard asks of what runs it.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Look this often from now on.
    Interval(Duration),
    /// Show this look of the recording.
    Seek(usize),
    /// Write a capture to a file, and tell its name by [`Dashboard::say`].
    Write(Box<Capture>),
}

#[derive(Debug, PartialEq)]
enum Mode {
    Table,
    Filter,
    Sort(usize),
    Help(u16),
    /// The selected row alone, scrolled.
    Open(u16),
}

#[derive(Debug, Default)]
struct Place {
    selected: usize,
    /// The row's key, so that it stays selected when rows move.
    key: Option<String>,
    sort: Option<usize>,
    reverse: bool,
    filter: Line,
}

/// The dashboard.
#[derive(Debug)]
pub struct Dashboard {
    host: Host,
    start: SystemTime,
    theme: Theme,
    source: Source,
    paused: bool,
    rates: bool,
    cgroups: bool,
    base: Option<Snapshot>,
    previous: Option<Snapshot>,
    now: Option<Snapshot>,
    totals: Option<Capture>,
    latest: Option<Capture>,
    history: History,
    events: VecDeque<Event>,
    view: View,
    places: BTreeMap<View, Place>,
    mode: Mode,
    message: Option<String>,
    page: usize,
}

impl Dashboard {
    /// An empty one. `start`: when the probes were attached.
    pub fn new(host: Host, start: SystemTime, theme: Theme, source: Source) -> Self {
        let paused = matches!(source, Source::Replay { .. });
        Self {
            host,
            start,
            theme,
            source,
            paused,
            rates: false,
            cgroups: false,
            base: None,
            previous: None,
            now: None,
            totals: None,
            latest: None,
            history: History::default(),
            events: VecDeque::new(),
            view: View::Overview,
            places: BTreeMap::new(),
            mode: Mode::Table,
            message: None,
            page: 10,
        }
    }

    /// Takes in the next look. While paused, live looks are left out: what is missed on screen
    /// is in the totals once it goes on.
    pub fn feed(&mut self, frame: Frame) {
        for event in frame.events {
            self.events.push_front(event);
        }
        self.events.truncate(EVENTS);
        if self.paused && matches!(self.source, Source::Live { .. }) && self.now.is_some() {
            return;
        }
        self.history.push(self.now.as_ref(), &frame.snapshot);
        self.previous = self.now.replace(frame.snapshot);
        self.count();
    }

    /// Forgets what was fed, for another place in a recording; the looks before it are fed anew.
    pub fn rewind(&mut self) {
        self.history.clear();
        self.events.clear();
        self.now = None;
        self.previous = None;
    }

    /// Says which look of the recording is shown.
    pub fn at(&mut self, shown: usize) {
        if let Source::Replay { index, count, .. } = &mut self.source {
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

    /// Whether a replay plays by itself, and how fast.
    pub fn playing(&self) -> Option<f64> {
        match &self.source {
            Source::Replay { speed, .. } if !self.paused => Some(*speed),
            _ => None,
        }
    }

    /// The counts since the start, or since they were reset.
    pub fn totals(&self) -> Option<&Capture> {
        self.totals.as_ref()
    }

    /// The view that is shown.
    pub fn view(&self) -> View {
        self.view
    }

    fn count(&mut self) {
        let Some(now) = &self.now else { return };
        let capture = |first: Option<&Snapshot>| {
            let from = first.map_or(0.0, |s| s.elapsed);
            let window = Window::new(time_of(self.start, from), now.elapsed - from);
            Capture::between(&self.host, window, first, now, &[])
        };
        // Nothing before the look at which counting began anew, in a replay that went back.
        let base = self.base.as_ref().filter(|b| b.elapsed <= now.elapsed);
        self.totals = Some(capture(base));
        self.latest = Some(capture(self.previous.as_ref()));
    }

    fn works(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Live => matches!(self.source, Source::Live { .. }),
            When::Replay => matches!(self.source, Source::Replay { .. }),
            When::Victims => self.view == View::Victims,
        }
    }

    fn place(&mut self) -> &mut Place {
        self.places.entry(self.view).or_default()
    }

    /// The table of the view, filtered and sorted as asked for.
    fn table(&self) -> Option<Table> {
        let capture = if self.rates {
            self.latest.as_ref()?
        } else {
            self.totals.as_ref()?
        };
        let scale = Scale {
            per: self.rates.then_some(capture.window.seconds),
        };
        let mut table = views::table(
            self.view,
            &Material {
                capture,
                scale,
                events: &self.events,
                cgroups: self.cgroups,
            },
        );
        let place = self.places.get(&self.view);
        if let Some(place) = place {
            table.filter(place.filter.value());
        }
        let sort = place.and_then(|p| p.sort).or(table.sort);
        if let Some(column) = sort {
            table.sort(column, place.is_some_and(|p| p.reverse));
        }
        table.sort = sort;
        Some(table)
    }

    /// The selected row: where it has moved to, else what stands in its place.
    fn selected(&self, table: &Table) -> usize {
        let Some(place) = self.places.get(&self.view) else {
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

    /// Takes in what was typed.
    pub fn input(&mut self, input: &Input) -> Option<Action> {
        match input {
            Input::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            _ => None,
        }
    }

    /// Takes in a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Action> {
        use crossterm::event::{KeyCode, KeyModifiers};
        self.message = None;
        let control_c =
            key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
        if control_c {
            return Some(Action::Quit);
        }
        if self.mode == Mode::Filter {
            match key.code {
                KeyCode::Enter => self.mode = Mode::Table,
                KeyCode::Esc => {
                    self.place().filter.reset();
                    self.mode = Mode::Table;
                }
                _ => {
                    self.place().filter.handle_event(&Input::Key(key));
                }
            }
            return None;
        }
        let command = keys::command(key, |when| self.works(when))?;
        self.command(command)
    }

    fn command(&mut self, command: Command) -> Option<Action> {
        if let Mode::Sort(column) = self.mode {
            return self.choose(column, command);
        }
        if let Mode::Help(at) | Mode::Open(at) = self.mode
            && let Some(to) = scrolled(at, command, self.page)
        {
            match &mut self.mode {
                Mode::Help(at) | Mode::Open(at) => *at = to,
                _ => {}
            }
            return None;
        }
        match command {
            Command::Quit => return Some(Action::Quit),
            Command::Help => {
                self.mode = match self.mode {
                    Mode::Help(_) => Mode::Table,
                    _ => Mode::Help(0),
                };
            }
            Command::Back => match self.mode {
                Mode::Table => self.place().filter.reset(),
                _ => self.mode = Mode::Table,
            },
            Command::Open => {
                self.mode = match self.mode {
                    Mode::Help(_) | Mode::Open(_) => Mode::Table,
                    _ => Mode::Open(0),
                };
            }
            Command::NextView | Command::PreviousView | Command::View(_) => self.go(command),
            Command::Up
            | Command::Down
            | Command::PageUp
            | Command::PageDown
            | Command::Top
            | Command::Bottom => self.step(command),
            Command::Filter => self.mode = Mode::Filter,
            Command::SortMenu => {
                let sorted = self.table().and_then(|t| t.sort).unwrap_or(0);
                self.mode = Mode::Sort(sorted);
            }
            Command::SortLeft => self.sort_by(-1),
            Command::SortRight => self.sort_by(1),
            Command::Reverse => {
                let place = self.place();
                place.reverse = !place.reverse;
            }
            Command::Rates => self.rates = !self.rates,
            Command::Cgroups => {
                self.cgroups = !self.cgroups;
                *self.place() = Place::default();
            }
            Command::Reset => {
                self.base.clone_from(&self.now);
                self.count();
                self.say("counting from now on");
            }
            Command::Write => {
                let capture = if self.rates {
                    &self.latest
                } else {
                    &self.totals
                };
                return capture.clone().map(|c| Action::Write(Box::new(c)));
            }
            _ => return self.time(command),
        }
        None
    }

    /// What goes with time.
    fn time(&mut self, command: Command) -> Option<Action> {
        if command == Command::Pause {
            self.paused = !self.paused;
            if let Source::Replay { index, count, .. } = &self.source
                && !self.paused
                && index + 1 >= *count
            {
                // From the end it plays again.
                return Some(Action::Seek(0));
            }
            return None;
        }
        match &mut self.source {
            Source::Live { interval } => {
                let ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
                let to = match command {
                    Command::Slower => INTERVALS.iter().find(|i| **i > ms),
                    Command::Faster => INTERVALS.iter().rev().find(|i| **i < ms),
                    _ => None,
                }?;
                *interval = Duration::from_millis(*to);
                Some(Action::Interval(*interval))
            }
            Source::Replay {
                index,
                count,
                speed,
                ..
            } => {
                let last = count.saturating_sub(1);
                let to = match command {
                    Command::StepBack => index.saturating_sub(1),
                    Command::StepOn => (*index + 1).min(last),
                    Command::FirstLook => 0,
                    Command::LastLook => last,
                    Command::SlowDown => {
                        *speed = SPEEDS
                            .iter()
                            .rev()
                            .find(|s| **s < *speed)
                            .copied()
                            .unwrap_or(*speed);
                        return None;
                    }
                    Command::SpeedUp => {
                        *speed = SPEEDS
                            .iter()
                            .find(|s| **s > *speed)
                            .copied()
                            .unwrap_or(*speed);
                        return None;
                    }
                    _ => return None,
                };
                self.paused = true;
                Some(Action::Seek(to))
            }
        }
    }

    fn go(&mut self, command: Command) {
        let all = View::ALL;
        let at = all.iter().position(|v| *v == self.view).unwrap_or(0);
        let to = match command {
            Command::NextView => (at + 1) % all.len(),
            Command::PreviousView => (at + all.len() - 1) % all.len(),
            Command::View(n) => usize::from(n).saturating_sub(1),
            _ => at,
        };
        self.view = all.get(to).copied().unwrap_or(self.view);
        self.mode = Mode::Table;
    }

    fn step(&mut self, command: Command) {
        let Some(table) = self.table() else { return };
        let last = table.rows.len().saturating_sub(1);
        let at = self.selected(&table);
        let to = match command {
            Command::Up => at.saturating_sub(1),
            Command::Down => at + 1,
            Command::PageUp => at.saturating_sub(self.page),
            Command::PageDown => at + self.page,
            Command::Top => 0,
            Command::Bottom => last,
            _ => at,
        }
        .min(last);
        let key = table.rows.get(to).map(|r| r.key.clone());
        let place = self.place();
        place.selected = to;
        // The newest event stays selected as others come.
        place.key = key.filter(|_| to > 0);
    }

    fn sort_by(&mut self, by: isize) {
        let Some(table) = self.table() else { return };
        let n = table.columns.len();
        let to = match table.sort {
            Some(at) => at.saturating_add_signed(by).min(n - 1),
            None => 0,
        };
        let place = self.place();
        place.sort = Some(to);
        place.reverse = false;
    }

    fn choose(&mut self, column: usize, command: Command) -> Option<Action> {
        let last = self
            .table()
            .map_or(0, |t| t.columns.len().saturating_sub(1));
        match command {
            Command::Up => self.mode = Mode::Sort(column.saturating_sub(1)),
            Command::Down => self.mode = Mode::Sort((column + 1).min(last)),
            Command::Open => {
                let place = self.place();
                place.sort = Some(column);
                place.reverse = false;
                self.mode = Mode::Table;
            }
            Command::Quit => return Some(Action::Quit),
            Command::Reverse => {
                let place = self.place();
                place.reverse = !place.reverse;
            }
            _ => self.mode = Mode::Table,
        }
        None
    }
}

/// Where a text is scrolled to; `None`: the command is about something else.
fn scrolled(at: u16, command: Command, page: usize) -> Option<u16> {
    let page = u16::try_from(page).unwrap_or(10);
    Some(match command {
        Command::Up => at.saturating_sub(1),
        Command::Down => at.saturating_add(1).min(1000),
        Command::PageUp => at.saturating_sub(page),
        Command::PageDown => at.saturating_add(page).min(1000),
        Command::Top => 0,
        _ => return None,
    })
}
