//! The keys that every view has, and what a key means. The help and the footer print them.

use crossterm::event::{KeyCode, KeyModifiers};

/// One key to press.
pub type Key = (KeyModifiers, KeyCode);

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Leaves the dashboard.
    Quit,
    /// Lists all keys.
    Help,
    /// Shows the next view.
    NextView,
    /// Shows the previous view.
    PreviousView,
    /// Opens the menu of all views.
    ViewMenu,
    /// Shows the view at this place in the registry, from 0.
    View(usize),
    /// Moves one row up.
    Up,
    /// Moves one row down.
    Down,
    /// Moves a page up.
    PageUp,
    /// Moves a page down.
    PageDown,
    /// Moves to the first row.
    Top,
    /// Moves to the last row.
    Bottom,
    /// Opens the selected row.
    Open,
    /// Closes what is open; never leaves the dashboard.
    Back,
    /// Edits the filter.
    Filter,
    /// Opens the menu of columns to sort by.
    SortMenu,
    /// Sorts by the column to the left.
    SortLeft,
    /// Sorts by the column to the right.
    SortRight,
    /// Reverses the order of rows.
    Reverse,
    /// Pauses or resumes the screen; plays or stops a replay.
    Pause,
    /// Lengthens the sampling interval.
    Slower,
    /// Shortens the sampling interval.
    Faster,
    /// Restarts counting from zero.
    Reset,
    /// Shows rates instead of totals, or totals again.
    Rates,
    /// Turns a switch of the view on or off, by its name.
    Switch(&'static str),
    /// Writes a capture of what is on screen.
    Write,
    /// Shows the previous sample.
    StepBack,
    /// Shows the next sample.
    StepOn,
    /// Shows the first sample.
    FirstSample,
    /// Shows the last sample.
    LastSample,
    /// Slows the replay down.
    SlowDown,
    /// Speeds the replay up.
    SpeedUp,
}

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Everywhere.
    Always,
    /// Over the live kernel.
    Live,
    /// Over a recording.
    Replay,
    /// In the view of this name.
    View(&'static str),
}

/// A command and the keys bound to it.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys; none for a view that only the menu reaches.
    pub keys: &'static [Key],
    /// The names of the keys.
    pub label: &'static str,
    /// What the keys do.
    pub command: Command,
    /// The same in words, for the help.
    pub help: &'static str,
    /// Where the keys work.
    pub when: When,
    /// The word in the footer; `None` leaves the keys out of it.
    pub footer: Option<&'static str>,
}

/// The key of a character.
pub(super) const fn c(c: char) -> Key {
    (KeyModifiers::NONE, KeyCode::Char(c))
}

const fn ctrl(c: char) -> Key {
    (KeyModifiers::CONTROL, KeyCode::Char(c))
}

const fn k(code: KeyCode) -> Key {
    (KeyModifiers::NONE, code)
}

/// A binding a line: names, keys, command, help, where it works, and its word in the footer.
macro_rules! bindings {
    ($($label:literal [$($key:expr),+] $command:ident $help:literal $when:ident $($footer:literal)?;)*) => {
        &[$(Binding {
            keys: &[$($key),+],
            label: $label,
            command: Command::$command,
            help: $help,
            when: When::$when,
            footer: bindings!(@footer $($footer)?),
        }),*]
    };
    (@footer) => { None };
    (@footer $word:literal) => { Some($word) };
}

/// The bindings that the help lists before the views.
pub(super) const GENERAL: &[Binding] = bindings! {
    "q Ctrl-C" [c('q'), ctrl('c')] Quit "quit" Always "quit";
    "? F1" [c('?'), k(KeyCode::F(1))] Help "this list" Always "help";
    "Tab" [k(KeyCode::Tab)] NextView "next view" Always;
    "Shift-Tab" [k(KeyCode::BackTab)] PreviousView "previous view" Always;
    "v" [c('v')] ViewMenu "choose a view from a menu" Always "views";
};

/// The bindings that the help lists after the views. The first that matches counts.
pub(super) const ROWS_AND_TIME: &[Binding] = bindings! {
    "Up k" [k(KeyCode::Up), c('k')] Up "row up" Always;
    "Down j" [k(KeyCode::Down), c('j')] Down "row down" Always;
    "PgUp Ctrl-U" [k(KeyCode::PageUp), ctrl('u')] PageUp "page up" Always;
    "PgDn Ctrl-D" [k(KeyCode::PageDown), ctrl('d')] PageDown "page down" Always;
    "Left h" [k(KeyCode::Left), c('h')] StepBack "previous sample" Replay "back";
    "Right l" [k(KeyCode::Right), c('l')] StepOn "next sample" Replay "next";
    "Home" [k(KeyCode::Home)] FirstSample "first sample" Replay;
    "End" [k(KeyCode::End)] LastSample "last sample" Replay;
    "[" [c('[')] SlowDown "play slower" Replay;
    "]" [c(']')] SpeedUp "play faster" Replay;
    "g Home" [c('g'), k(KeyCode::Home)] Top "first row" Always;
    "G End" [c('G'), k(KeyCode::End)] Bottom "last row" Always;
    "Enter" [k(KeyCode::Enter)] Open "open the row" Always "open";
    "Esc" [k(KeyCode::Esc)] Back "close; clear the filter" Always;
    "/" [c('/')] Filter "filter the rows" Always "filter";
    "s" [c('s')] SortMenu "choose the column to sort by" Always "sort";
    "," [c(',')] SortLeft "sort by the column to the left" Always;
    "." [c('.')] SortRight "sort by the column to the right" Always;
    "r" [c('r')] Reverse "reverse the order" Always;
    "Space p" [c(' '), c('p')] Pause "pause or resume; play a replay" Always "pause";
    "+" [c('+'), c('=')] Slower "longer sampling interval" Live;
    "-" [c('-')] Faster "shorter sampling interval" Live;
    "t" [c('t')] Rates "rates or totals" Always "rates";
    "R" [c('R')] Reset "restart counting from zero" Always;
    "w" [c('w')] Write "write this as a capture to a file" Always "write";
};

/// The keys of the first ten views, with their names.
static DIGITS: [(&str, [Key; 1]); 10] = [
    ("1", [c('1')]),
    ("2", [c('2')]),
    ("3", [c('3')]),
    ("4", [c('4')]),
    ("5", [c('5')]),
    ("6", [c('6')]),
    ("7", [c('7')]),
    ("8", [c('8')]),
    ("9", [c('9')]),
    ("0", [c('0')]),
];

/// The name and the keys of the view at this place in the registry; `None` from the eleventh on.
pub(super) fn digit(place: usize) -> Option<(&'static str, &'static [Key])> {
    DIGITS.get(place).map(|(label, keys)| (*label, &keys[..]))
}
