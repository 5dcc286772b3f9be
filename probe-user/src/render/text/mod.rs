//! Text for people: reports, comparisons, doctor, selftest and progress.

pub mod diff;
pub mod doctor;
pub mod page;
pub mod progress;
pub mod report;
pub mod selftest;

mod chart;
mod sections;

pub use page::Style;
