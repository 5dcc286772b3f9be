//! The one table of keys: what binds them is what help and footer print.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Leave.
    Quit,
    /// List all keys.
    Help,
    /// The next view.
    NextView,
    /// The one before.
    PreviousView,
    /// The view of this number, from 1.
    View(u8),
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// Open the row.
    Open,
    /// Back out of what is open; never leaves.
    Back,
    /// Type a filter.
    Filter,
    /// Choose the column to sort by.
    SortMenu,
    /// Sort by the column to the left.
    SortLeft,
    /// Sort by the column to the right.
    SortRight,
    /// Sort the other way round.
    Reverse,
    /// Hold the screen still, or let it go on; in a replay: play, or stop.
    Pause,
    /// Look less often.
    Slower,
    /// Look more often.
    Faster,
    /// Count from now on.
    Reset,
    /// Rates or totals.
    Rates,
    /// Processes or cgroups.
    Cgroups,
    /// Write a capture of what is on screen.
    Write,
    /// One look back.
    StepBack,
    /// One look on.
    StepOn,
    /// To the first look.
    FirstLook,
    /// To the last look.
    LastLook,
    /// Replay slower.
    SlowDown,
    /// Replay faster.
    SpeedUp,
}

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Everywhere.
    Always,
    /// Watching the live kernel.
    Live,
    /// Looking at a recording.
    Replay,
    /// In the victims' view.
    Victims,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// What to press.
    pub keys: &'static [(KeyModifiers, KeyCode)],
    /// How those are called.
    pub label: &'static str,
    /// What it asks for.
    pub command: Command,
    /// The same in words.
    pub help: &'static str,
    /// Where it works.
    pub when: When,
    /// Its word in the footer; `None`: not there.
    pub footer: Option<&'static str>,
}

const NONE: KeyModifiers = KeyModifiers::NONE;
const CTRL: KeyModifiers = KeyModifiers::CONTROL;

const fn c(c: char) -> (KeyModifiers, KeyCode) {
    (NONE, KeyCode::Char(c))
}

const fn k(code: KeyCode) -> (KeyModifiers, KeyCode) {
    (NONE, code)
}

macro_rules! bind {
    ($label:literal, $keys:expr, $command:expr, $help:literal, $when:ident, $footer:expr) => {
        Binding {
            keys: &$keys,
            label: $label,
            command: $command,
            help: $help,
            when: When::$when,
            footer: $footer,
        }
    };
}

/// All keys, in the order of help. The first that matches counts.
pub const BINDINGS: &[Binding] = &[
    bind!(
        "q Ctrl-C",
        [c('q'), (CTRL, KeyCode::Char('c'))],
        Command::Quit,
        "leave",
        Always,
        Some("quit")
    ),
    bind!(
        "? F1",
        [c('?'), k(KeyCode::F(1))],
        Command::Help,
        "this list",
        Always,
        Some("help")
    ),
    bind!(
        "Tab",
        [k(KeyCode::Tab)],
        Command::NextView,
        "next view",
        Always,
        Some("view")
    ),
    bind!(
        "Shift-Tab",
        [k(KeyCode::BackTab)],
        Command::PreviousView,
        "previous view",
        Always,
        None
    ),
    bind!("1", [c('1')], Command::View(1), "overview", Always, None),
    bind!(
        "2",
        [c('2')],
        Command::View(2),
        "victims: whose mappings went",
        Always,
        None
    ),
    bind!(
        "3",
        [c('3')],
        Command::View(3),
        "reclaimers: who unmapped",
        Always,
        None
    ),
    bind!(
        "4",
        [c('4')],
        Command::View(4),
        "kinds of memory",
        Always,
        None
    ),
    bind!(
        "5",
        [c('5')],
        Command::View(5),
        "subscribers of MMU notifiers",
        Always,
        None
    ),
    bind!(
        "6",
        [c('6')],
        Command::View(6),
        "histograms and heat maps",
        Always,
        None
    ),
    bind!(
        "7",
        [c('7')],
        Command::View(7),
        "single futile unmaps, newest first",
        Always,
        None
    ),
    bind!(
        "8",
        [c('8')],
        Command::View(8),
        "hooks: what is measured, and how",
        Always,
        None
    ),
    bind!(
        "9",
        [c('9')],
        Command::View(9),
        "findings and advice",
        Always,
        None
    ),
    bind!(
        "Up k",
        [k(KeyCode::Up), c('k')],
        Command::Up,
        "row up",
        Always,
        None
    ),
    bind!(
        "Down j",
        [k(KeyCode::Down), c('j')],
        Command::Down,
        "row down",
        Always,
        None
    ),
    bind!(
        "PgUp Ctrl-U",
        [k(KeyCode::PageUp), (CTRL, KeyCode::Char('u'))],
        Command::PageUp,
        "page up",
        Always,
        None
    ),
    bind!(
        "PgDn Ctrl-D",
        [k(KeyCode::PageDown), (CTRL, KeyCode::Char('d'))],
        Command::PageDown,
        "page down",
        Always,
        None
    ),
    bind!(
        "Left h",
        [k(KeyCode::Left), c('h')],
        Command::StepBack,
        "one look back",
        Replay,
        Some("back")
    ),
    bind!(
        "Right l",
        [k(KeyCode::Right), c('l')],
        Command::StepOn,
        "one look on",
        Replay,
        Some("on")
    ),
    bind!(
        "Home",
        [k(KeyCode::Home)],
        Command::FirstLook,
        "first look",
        Replay,
        None
    ),
    bind!(
        "End",
        [k(KeyCode::End)],
        Command::LastLook,
        "last look",
        Replay,
        None
    ),
    bind!(
        "[",
        [c('[')],
        Command::SlowDown,
        "play slower",
        Replay,
        None
    ),
    bind!("]", [c(']')], Command::SpeedUp, "play faster", Replay, None),
    bind!(
        "g Home",
        [c('g'), k(KeyCode::Home)],
        Command::Top,
        "first row",
        Always,
        None
    ),
    bind!(
        "G End",
        [c('G'), k(KeyCode::End)],
        Command::Bottom,
        "last row",
        Always,
        None
    ),
    bind!(
        "Enter",
        [k(KeyCode::Enter)],
        Command::Open,
        "open the row",
        Always,
        Some("open")
    ),
    bind!(
        "Esc",
        [k(KeyCode::Esc)],
        Command::Back,
        "close it; clear the filter",
        Always,
        None
    ),
    bind!(
        "/",
        [c('/')],
        Command::Filter,
        "filter the rows",
        Always,
        Some("filter")
    ),
    bind!(
        "s",
        [c('s')],
        Command::SortMenu,
        "choose the column to sort by",
        Always,
        Some("sort")
    ),
    bind!(
        ",",
        [c(',')],
        Command::SortLeft,
        "sort by the column to the left",
        Always,
        None
    ),
    bind!(
        ".",
        [c('.')],
        Command::SortRight,
        "sort by the column to the right",
        Always,
        None
    ),
    bind!(
        "r",
        [c('r')],
        Command::Reverse,
        "sort the other way round",
        Always,
        None
    ),
    bind!(
        "Space p",
        [c(' '), c('p')],
        Command::Pause,
        "pause, or go on; play a replay",
        Always,
        Some("pause")
    ),
    bind!(
        "+",
        [c('+'), c('=')],
        Command::Slower,
        "longer interval",
        Live,
        None
    ),
    bind!(
        "-",
        [c('-')],
        Command::Faster,
        "shorter interval",
        Live,
        None
    ),
    bind!(
        "t",
        [c('t')],
        Command::Rates,
        "rates or totals",
        Always,
        Some("rates")
    ),
    bind!(
        "R",
        [c('R')],
        Command::Reset,
        "count from now on",
        Always,
        None
    ),
    bind!(
        "c",
        [c('c')],
        Command::Cgroups,
        "processes or cgroups",
        Victims,
        Some("cgroups")
    ),
    bind!(
        "w",
        [c('w')],
        Command::Write,
        "write a capture of this to a file",
        Always,
        Some("write")
    ),
];

/// What a key asks for where `works` says what works.
pub fn command(key: KeyEvent, works: impl Fn(When) -> bool) -> Option<Command> {
    // Shift is in the character already.
    let modifiers = key.modifiers - KeyModifiers::SHIFT;
    BINDINGS
        .iter()
        .find(|b| works(b.when) && b.keys.contains(&(modifiers, key.code)))
        .map(|b| b.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_bound_twice_where_both_work() {
        for (i, a) in BINDINGS.iter().enumerate() {
            for b in &BINDINGS[i + 1..] {
                // What is bound for a replay goes before what is bound everywhere.
                let shadowed = a.when == When::Replay && b.when == When::Always;
                for key in a.keys {
                    assert!(
                        shadowed || !b.keys.contains(key),
                        "{} and {}",
                        a.label,
                        b.label
                    );
                }
            }
        }
    }

    #[test]
    fn every_view_has_its_number() {
        for n in 1..=super::super::View::ALL.len() as u8 {
            assert!(
                BINDINGS.iter().any(|b| b.command == Command::View(n)),
                "{n}"
            );
        }
    }
}
