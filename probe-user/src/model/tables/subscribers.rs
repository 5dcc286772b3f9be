//! MMU notifier subscribers, and what their calls cost.

use crate::model::capture::Capture;

/// The note under a table in which any time is an upper bound.
pub const BOUND: &str = "\"at most\": other subscribers took part in some of the calls, and \
                         their time counts for each";

/// One subscriber.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubscriberRow<'a> {
    /// The callback's symbol.
    pub symbol: &'a str,
    /// Notifier calls that it took part in.
    pub calls: u64,
    /// Time in those calls. An upper bound where `shared_calls` is not 0.
    pub seconds: f64,
    /// `seconds` divided by `calls`; `None` without a call.
    pub per_call: Option<f64>,
    /// Calls in which other subscribers took part too: their time counts for each.
    pub shared_calls: u64,
}

impl SubscriberRow<'_> {
    /// Whether `seconds` is an upper bound.
    pub const fn is_bound(&self) -> bool {
        self.shared_calls > 0
    }
}

/// The subscribers, those with the most time first; `None`: not measured.
pub fn subscribers(capture: &Capture) -> Option<Vec<SubscriberRow<'_>>> {
    let rows = capture.subscribers.as_ref()?.iter().map(|s| SubscriberRow {
        symbol: &s.symbol,
        calls: s.calls,
        seconds: s.seconds,
        per_call: (s.calls > 0).then(|| s.seconds / s.calls as f64),
        shared_calls: s.shared_calls,
    });
    Some(rows.collect())
}
