//! What the numbers mean: pure functions from snapshots to a [`Capture`], without I/O and
//! without clocks.

pub mod answer;
pub mod by_verdict;
pub mod capture;
pub mod diff;
pub mod diff_say;
pub mod doctor;
pub mod event;
pub mod findings;
pub mod histogram;
pub mod history;
pub mod interval;
pub mod measured;
pub mod noise;
pub mod say;
pub mod top;

pub(crate) mod between;
mod facts;
mod rules;
mod rules_trust;

pub use answer::{Answer, AnswerWord};
pub use by_verdict::ByVerdict;
pub use capture::{
    Accuracy, Capture, Group, Histograms, LostReport, Notifier, Subscriber, Tally, Unmaps,
    VerdictTotal, Victim, Who, Window,
};
pub use diff::{Diff, Subject};
pub use doctor::{Check, DoctorReport, Outcome, SelftestRow};
pub use event::EventRecord;
pub use findings::{Finding, Severity};
pub use histogram::{HistogramReport, Number, Unit};
pub use history::History;
pub use interval::{Interval, Totals};
pub use measured::{Gap, Measured};
