//! A capture as it enters a comparison: counts as rates, each with its margin.

use super::noise::{self, Estimate, Part};
use crate::model::{capture::Capture, interval::Interval};

/// A capture to compare, and, of a recording, its samples.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The name of its file.
    pub name: &'a str,
    /// The capture.
    pub capture: &'a Capture,
    /// Its samples; none where there is only the capture.
    pub samples: &'a [Interval],
}

/// A capture with the scatter of its counts.
pub(super) struct Measures<'a> {
    pub(super) capture: &'a Capture,
    samples: &'a [Interval],
    /// The scatter of futile unmaps, which stands in for counts that samples do not have.
    pub(super) futile: Option<f64>,
}

/// Picks one amount from a sample's totals.
pub(super) type Pick = fn(&Interval) -> Option<f64>;

impl<'a> Measures<'a> {
    /// The measures of `of`. `other` lends its scatter where `of` has no samples.
    pub(super) fn new(of: Subject<'a>, other: Subject<'a>) -> Self {
        let scatter = |s: Subject<'_>| {
            let futile = s.capture.unmaps.futile()?;
            noise::scatter(
                &parts(s.samples, |i| i.totals.futile().map(|n| n as f64)),
                futile,
            )
        };
        Self {
            capture: of.capture,
            samples: of.samples,
            futile: scatter(of).or_else(|| scatter(other)),
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.capture.window.seconds
    }

    pub(super) fn count(&self, count: Option<u64>, pick: Pick) -> Option<Estimate> {
        self.amount(count.map(|n| n as f64), count, pick)
    }

    pub(super) fn amount(
        &self,
        amount: Option<f64>,
        count: Option<u64>,
        pick: Pick,
    ) -> Option<Estimate> {
        let scatter = noise::scatter(&parts(self.samples, pick), count?).or(self.futile);
        noise::rate(amount?, count?, self.seconds(), scatter)
    }

    pub(super) fn futile_share(&self) -> Option<Estimate> {
        let all = self.capture.unmaps.total?;
        let futile = self.capture.unmaps.futile()?;
        if all == 0 {
            return None;
        }
        let share = futile as f64 / all as f64;
        let single = (share * (1.0 - share) / all as f64).sqrt();
        Some(Estimate {
            value: share,
            margin: 3.0 * single * self.futile.unwrap_or(1.0),
        })
    }
}

/// The amounts between samples: totals subtract.
fn parts(samples: &[Interval], pick: Pick) -> Vec<Part> {
    let mut before = 0.0;
    let mut parts = Vec::with_capacity(samples.len());
    for sample in samples {
        let Some(now) = pick(sample) else {
            return Vec::new();
        };
        parts.push(Part {
            seconds: sample.seconds,
            amount: (now - before).max(0.0),
        });
        before = now;
    }
    parts
}
