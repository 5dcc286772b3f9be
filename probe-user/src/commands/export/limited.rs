//! Messages that others can provoke, at a bounded rate.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lets one message pass per interval, and counts the others.
#[derive(Debug)]
pub(super) struct Limited {
    every: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Limited {
    pub(super) const fn new(every: Duration) -> Self {
        Self {
            every,
            state: Mutex::new((None, 0)),
        }
    }

    /// Returns how many messages were left out since the last one, if this one may pass.
    pub(super) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }
}

/// Returns " (and N more)", or nothing if there were none.
pub(super) fn and_more(left_out: u64) -> String {
    if left_out == 0 {
        String::new()
    } else {
        format!(" (and {left_out} more since the last message)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_per_interval() {
        let limited = Limited::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| limited.pass_at(start + Duration::from_secs(seconds));
        let passed = [at(0), at(1), at(9), at(10), at(19), at(31)];
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
