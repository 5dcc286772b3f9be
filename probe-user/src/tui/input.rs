//! What each key changes.

use std::time::Duration;

use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tui_input::backend::crossterm::EventHandler;

use super::{
    keymap,
    keys::Command,
    state::{Dashboard, Feed, Mode, Place},
};
use crate::model::Capture;

/// Speeds of a replay.
const SPEEDS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0];
/// Sampling intervals, in ms.
const INTERVALS: [u64; 8] = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000];

/// What the dashboard asks of its caller.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Use this sampling interval from now on.
    Interval(Duration),
    /// Show this sample of the recording.
    Seek(usize),
    /// Write a capture to a file, and report its name through [`Dashboard::say`].
    Write(Box<Capture>),
}

impl Dashboard {
    /// Takes in terminal input.
    pub fn input(&mut self, input: &Input) -> Option<Action> {
        match input {
            Input::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            _ => None,
        }
    }

    /// Takes in a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Action> {
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
                    self.place_mut().filter.reset();
                    self.mode = Mode::Table;
                }
                _ => {
                    self.place_mut().filter.handle_event(&Input::Key(key));
                }
            }
            return None;
        }
        let command = keymap::command(&self.bindings(), key, |when| self.works(when))?;
        self.command(command)
    }

    fn command(&mut self, command: Command) -> Option<Action> {
        match self.mode {
            Mode::Sort(column) => return self.choose_column(column, command),
            Mode::Views(view) => return self.choose_view(view, command),
            Mode::Help(at) | Mode::Open(at) => {
                if let Some(to) = scrolled(at, command, self.page) {
                    if let Mode::Help(at) | Mode::Open(at) = &mut self.mode {
                        *at = to;
                    }
                    return None;
                }
            }
            Mode::Table | Mode::Filter => {}
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
                Mode::Table => self.place_mut().filter.reset(),
                _ => self.mode = Mode::Table,
            },
            Command::Open => {
                self.mode = match self.mode {
                    Mode::Help(_) | Mode::Open(_) => Mode::Table,
                    _ => Mode::Open(0),
                };
            }
            Command::NextView => self.show((self.view + 1) % self.views.len()),
            Command::PreviousView => {
                self.show((self.view + self.views.len() - 1) % self.views.len());
            }
            Command::View(view) => self.show(view),
            Command::ViewMenu => self.mode = Mode::Views(self.view),
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
                let place = self.place_mut();
                place.reverse = !place.reverse;
            }
            Command::Rates => self.rates = !self.rates,
            Command::Switch(name) => self.switch(name),
            Command::Reset => {
                self.base.clone_from(&self.now);
                self.count();
                self.say("counting restarted from zero");
            }
            Command::Write => {
                let capture = self.capture().cloned();
                return capture.map(|c| Action::Write(Box::new(c)));
            }
            Command::Pause => return self.pause(),
            _ => return self.time(command),
        }
        None
    }

    fn pause(&mut self) -> Option<Action> {
        self.paused = !self.paused;
        match &self.feed {
            // Playing from the end starts again at the beginning.
            Feed::Replay { index, count, .. } if !self.paused && index + 1 >= *count => {
                Some(Action::Seek(0))
            }
            _ => None,
        }
    }

    /// Changes the sampling interval, the sample shown, or the speed of the replay.
    fn time(&mut self, command: Command) -> Option<Action> {
        match &mut self.feed {
            Feed::Live { interval } => {
                let ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
                let to = match command {
                    Command::Slower => INTERVALS.iter().find(|i| **i > ms),
                    Command::Faster => INTERVALS.iter().rev().find(|i| **i < ms),
                    _ => None,
                }?;
                *interval = Duration::from_millis(*to);
                Some(Action::Interval(*interval))
            }
            Feed::Replay {
                index,
                count,
                speed,
                ..
            } => {
                let last = count.saturating_sub(1);
                let to = match command {
                    Command::StepBack => index.saturating_sub(1),
                    Command::StepOn => (*index + 1).min(last),
                    Command::FirstSample => 0,
                    Command::LastSample => last,
                    Command::SlowDown | Command::SpeedUp => {
                        let next = if command == Command::SpeedUp {
                            SPEEDS.iter().find(|s| **s > *speed)
                        } else {
                            SPEEDS.iter().rev().find(|s| **s < *speed)
                        };
                        *speed = next.copied().unwrap_or(*speed);
                        return None;
                    }
                    _ => return None,
                };
                self.paused = true;
                Some(Action::Seek(to))
            }
        }
    }

    /// Shows a view, if there is one at this place.
    fn show(&mut self, view: usize) {
        if view < self.views.len() {
            self.view = view;
        }
        self.mode = Mode::Table;
    }

    /// Turns a switch of the view on or off. Its table is another one then, so that selection,
    /// order and filter start anew.
    fn switch(&mut self, name: &'static str) {
        let place = self.place_mut();
        let mut on = std::mem::take(&mut place.on);
        match on.iter().position(|s| *s == name) {
            Some(at) => {
                on.remove(at);
            }
            None => on.push(name),
        }
        *place = Place {
            on,
            ..Place::default()
        };
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
        let place = self.place_mut();
        place.selected = to;
        // The first row stays the first: the newest event remains selected as more arrive.
        place.key = key.filter(|_| to > 0);
    }

    fn sort_by(&mut self, by: isize) {
        let Some(table) = self.table() else { return };
        let n = table.columns.len();
        let to = match table.sort {
            Some(at) => at.saturating_add_signed(by).min(n - 1),
            None => 0,
        };
        let place = self.place_mut();
        place.sort = Some(to);
        place.reverse = false;
    }

    fn choose_column(&mut self, column: usize, command: Command) -> Option<Action> {
        let last = self
            .table()
            .map_or(0, |t| t.columns.len().saturating_sub(1));
        match command {
            Command::Up => self.mode = Mode::Sort(column.saturating_sub(1)),
            Command::Down => self.mode = Mode::Sort((column + 1).min(last)),
            Command::Open => {
                let place = self.place_mut();
                place.sort = Some(column);
                place.reverse = false;
                self.mode = Mode::Table;
            }
            Command::Quit => return Some(Action::Quit),
            Command::Reverse => {
                let place = self.place_mut();
                place.reverse = !place.reverse;
            }
            _ => self.mode = Mode::Table,
        }
        None
    }

    fn choose_view(&mut self, view: usize, command: Command) -> Option<Action> {
        let last = self.views.len() - 1;
        match command {
            Command::Up => self.mode = Mode::Views(view.saturating_sub(1)),
            Command::Down => self.mode = Mode::Views((view + 1).min(last)),
            Command::Top | Command::FirstSample => self.mode = Mode::Views(0),
            Command::Bottom | Command::LastSample => self.mode = Mode::Views(last),
            Command::Open => self.show(view),
            Command::View(view) => self.show(view),
            Command::Quit => return Some(Action::Quit),
            _ => self.mode = Mode::Table,
        }
        None
    }
}

/// Where a text is scrolled to; `None`: the command does not scroll.
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        snapshot::Host,
        tui::{Theme, views::twelve},
    };

    fn dashboard() -> Dashboard {
        let theme = Theme {
            color: false,
            ascii: true,
        };
        let feed = Feed::Live {
            interval: Duration::from_secs(1),
        };
        let host = Host {
            kernel: "6.12".into(),
            hostname: "test".into(),
            cpus: 1,
        };
        let mut dashboard = Dashboard::new(host, SystemTime::UNIX_EPOCH, theme, feed);
        dashboard.views = twelve();
        dashboard
    }

    fn press(dashboard: &mut Dashboard, keys: &[KeyCode]) -> &'static str {
        for key in keys {
            dashboard.key((*key).into());
        }
        dashboard.view().name()
    }

    #[test]
    fn ten_of_twelve_views_have_a_digit_and_the_menu_reaches_all() {
        use KeyCode::{BackTab, Char, Down, End, Enter, Tab, Up};
        let mut d = dashboard();
        assert_eq!(press(&mut d, &[Char('9')]), "nine");
        assert_eq!(press(&mut d, &[Char('0')]), "ten");
        assert_eq!(press(&mut d, &[Tab]), "eleven");
        assert_eq!(press(&mut d, &[Tab, Tab]), "one");
        assert_eq!(press(&mut d, &[BackTab]), "twelve");
        assert_eq!(press(&mut d, &[Char('v'), Up, Enter]), "eleven");
        assert_eq!(press(&mut d, &[Char('v'), Down, Down, Enter]), "twelve");
        assert_eq!(press(&mut d, &[Char('1'), Char('v'), End, Enter]), "twelve");
        let help: Vec<_> = d.bindings().iter().map(|b| (b.label, b.help)).collect();
        for entry in [("1", "one"), ("0", "ten"), ("v", "eleven"), ("v", "twelve")] {
            assert!(help.contains(&entry), "{entry:?} in {help:?}");
        }
    }
}
