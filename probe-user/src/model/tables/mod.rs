//! The rows, shares, bins and rankings that every renderer shows.
//!
//! A number that a person can see twice is computed once, here. Text, HTML and the dashboard
//! only decide how a row looks and how many rows there is room for.
//!
//! | file | holds |
//! |---|---|
//! | [`verdicts`] | what became of the unmapped folios |
//! | [`victims`] | who lost mappings to futile unmaps, by process or by cgroup |
//! | [`reclaim`] | unmaps summed by reclaimer, memory and order |
//! | [`subscribers`] | MMU notifier subscribers and their cost |
//! | [`distributions`] | the histograms, with their titles and percentiles |
//! | [`bins`] | the bins of one histogram |

pub mod bins;
pub mod distributions;
mod emphasis;
mod rank;
pub mod reclaim;
mod share;
pub mod subscribers;
pub mod verdicts;
pub mod victims;

pub use bins::{Bin, BinRow};
pub use distributions::Distribution;
pub use emphasis::Emphasis;
pub use rank::{ranked, total};
pub use reclaim::{ReclaimRow, SumBy};
pub use share::Share;
pub use subscribers::SubscriberRow;
pub use verdicts::VerdictRow;
pub use victims::{Per, VictimRow};
