//! The results of test steps: counted from what test harnesses print, and shown as a table.

use std::fmt::Write as _;
use std::time::Duration;

/// The numbers of tests by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestCounts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that were skipped on purpose.
    pub(crate) skipped: u64,
    /// Harnesses that started.
    pub(crate) begun: u64,
    /// Harnesses that printed a result.
    pub(crate) harnesses: u64,
}

impl TestCounts {
    /// One passed check.
    pub(crate) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
        begun: 0,
        harnesses: 0,
    };
    /// One failed check.
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
        begun: 0,
        harnesses: 0,
    };
    /// One skipped check.
    pub(crate) const SKIPPED: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 1,
        begun: 0,
        harnesses: 0,
    };

    /// Sums the `test result:` lines of libtest and compatible harnesses.
    pub(crate) fn of(text: &str) -> Self {
        let mut sum = Self::default();
        for line in text.lines() {
            let line = line.trim_start();
            if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test"))
            {
                sum.begun += 1;
            }
            let Some(rest) = line.strip_prefix("test result: ") else {
                continue;
            };
            let Some((_, counts)) = rest.split_once(". ") else {
                continue;
            };
            sum.harnesses += 1;
            for part in counts.split(';') {
                let mut words = part.split_whitespace();
                let (number, word) = (
                    words.next().and_then(|n| n.parse::<u64>().ok()),
                    words.next(),
                );
                match (number, word) {
                    (Some(n), Some("passed")) => sum.passed += n,
                    (Some(n), Some("failed")) => sum.failed += n,
                    (Some(n), Some("ignored")) => sum.skipped += n,
                    _ => {}
                }
            }
        }
        sum
    }

    /// Counts the results of a whole run. A harness that started but printed no result has died: one
    /// failure. A run that failed without a failed test, or without any result, is one failure too.
    pub(crate) fn of_run(text: &str, success: bool) -> Self {
        let mut counts = Self::of(text);
        counts.failed += counts.begun.saturating_sub(counts.harnesses);
        if (!success || counts.harnesses == 0) && counts.failed == 0 {
            counts.failed = 1;
        }
        counts
    }
}

/// One step: a line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The step's name.
    pub(crate) name: String,
    /// The step's results.
    pub(crate) counts: TestCounts,
    /// The step's duration.
    pub(crate) took: Duration,
}

/// Formats the table of steps, with the sum in the last line.
pub(crate) fn table(steps: &[Step]) -> String {
    let width = steps
        .iter()
        .map(|s| s.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    let mut text = format!(
        "\n{:width$}  {:>6}  {:>6}  {:>7}  {:>7}\n",
        "step", "passed", "failed", "skipped", "seconds"
    );
    let mut sum = TestCounts::default();
    for step in steps {
        let c = step.counts;
        let _ = writeln!(
            text,
            "{:width$}  {:>6}  {:>6}  {:>7}  {:>7.1}",
            step.name,
            c.passed,
            c.failed,
            c.skipped,
            step.took.as_secs_f64()
        );
        sum.passed += c.passed;
        sum.failed += c.failed;
        sum.skipped += c.skipped;
    }
    let _ = write!(
        text,
        "\n{} passed, {} failed, {} skipped",
        sum.passed, sum.failed, sum.skipped
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
running 3 tests
test a ... ok
test b ... FAILED
test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running tests/x.rs
running 40 tests
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.20s
";

    #[test]
    fn sums() {
        let sum = TestCounts::of(TEXT);
        assert_eq!(
            sum,
            TestCounts {
                passed: 42,
                failed: 1,
                skipped: 4,
                begun: 2,
                harnesses: 2
            }
        );
    }

    #[test]
    fn a_run_without_a_result_is_a_failure() {
        assert_eq!(TestCounts::of_run("", true).failed, 1);
        assert_eq!(TestCounts::of_run(TEXT, false).failed, 1);
        let fine = "test result: ok. 1 passed; 0 failed; 0 ignored;";
        assert_eq!(TestCounts::of_run(fine, true).failed, 0);
        assert_eq!(TestCounts::of_run(fine, false).failed, 1);
        let died = format!("{TEXT}running 5 tests\ntest x ... ok\n");
        assert_eq!(TestCounts::of_run(&died, false).failed, 2);
    }

    #[test]
    fn the_last_line_is_the_sum() {
        let step = |name: &str, counts| Step {
            name: name.to_string(),
            counts,
            took: Duration::from_secs(1),
        };
        let text = table(&[
            step("fmt", TestCounts::PASSED),
            step("guest 6.12", TestCounts::of(TEXT)),
            step("x", TestCounts::SKIPPED),
        ]);
        assert_eq!(text.lines().last(), Some("43 passed, 1 failed, 5 skipped"));
    }
}
