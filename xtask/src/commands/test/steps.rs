//! The steps of a test run.

use std::time::Instant;

use anyhow::Result;

use crate::commands::test::results::{Step, TestCounts};
use crate::host::progress;

/// The steps done so far.
#[derive(Default)]
pub(super) struct Steps {
    /// Their results, in order.
    pub(super) done: Vec<Step>,
}

impl Steps {
    /// Runs a step that passes or fails, and returns whether it passed.
    pub(super) fn check(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> bool {
        self.counted(name, || work().map(|()| TestCounts::PASSED))
    }

    /// Runs a step that counts its tests, and returns whether none failed.
    pub(super) fn counted(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<TestCounts>,
    ) -> bool {
        progress::step(name);
        let begun = Instant::now();
        let counts = work().unwrap_or_else(|error| {
            progress::step(&format!("{name} FAILED: {error:#}"));
            TestCounts::FAILED
        });
        self.done.push(Step {
            name: name.to_string(),
            counts,
            took: begun.elapsed(),
        });
        counts.failed == 0
    }
}
