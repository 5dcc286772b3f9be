//! What the numbers mean: pure functions from snapshots to a [`Capture`], without I/O and
//! without clocks.

pub mod capture;
pub mod compare;
pub mod container;
pub(crate) mod derive;
pub mod doctor;
pub mod history;
pub mod interval;
pub mod judge;
pub mod measured;
pub mod ranking;
pub mod tables;
pub mod wording;

pub use capture::{
    Accuracy, Answer, AnswerWord, ByVerdict, Capture, EventRecord, Finding, Gap, Group,
    HistogramReport, Histograms, LostReport, Notifier, Number, Severity, Subscriber, Tally, Unit,
    Unmaps, VerdictTotal, Victim, Who, Window,
};
pub use compare::{Diff, Subject};
pub use doctor::{Check, DoctorReport, Outcome, SelftestRow};
pub use history::History;
pub use interval::{Interval, Totals};
pub use measured::Measured;
