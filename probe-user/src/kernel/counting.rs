//! The time in which the probes count.

use std::time::{Duration, Instant, SystemTime};

/// The time in which the probes count: from the attach of the hook that begins the counting, which
/// comes last, until the stop begins to hold off new batches. Draining and detaching are not part
/// of it, and neither is anything that user space does before its first sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counting {
    since: Instant,
    /// `since` on the kernel's clock, by which events are stamped.
    since_ns: u64,
    /// `since` on the wall clock.
    started: SystemTime,
    until: Option<Instant>,
}

impl Counting {
    /// The counting begins now.
    pub(super) fn begin() -> Self {
        Self {
            since: Instant::now(),
            since_ns: monotonic_ns(),
            started: SystemTime::now(),
            until: None,
        }
    }

    /// The counting ends now, unless it has ended before.
    pub(super) fn end(&mut self) {
        self.until.get_or_insert_with(Instant::now);
    }

    /// Seconds in which the probes have counted so far.
    pub(super) fn seconds(&self) -> f64 {
        let until = self.until.unwrap_or_else(Instant::now);
        until.saturating_duration_since(self.since).as_secs_f64()
    }

    /// When it began.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// When it began, in ns of the kernel's monotonic clock.
    pub(super) fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// When it began, by the wall clock.
    pub(super) fn started(&self) -> SystemTime {
        self.started
    }
}

fn monotonic_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn the_time_runs_until_the_end_and_no_further() {
        let mut counting = Counting::begin();
        let first = counting.seconds();
        sleep(Duration::from_millis(2));
        assert!(counting.seconds() >= first + 0.002);
        counting.end();
        let whole = counting.seconds();
        sleep(Duration::from_millis(2));
        counting.end();
        assert_eq!(counting.seconds(), whole);
    }
}
