//! Results of steps: counting what test harnesses print, and showing it.

use std::fmt::Write as _;
use std::time::Duration;

/// How many tests did what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Not run, on purpose.
    pub(crate) skipped: u64,
    /// How many harnesses began.
    pub(crate) begun: u64,
    /// How many harnesses gave a result.
    pub(crate) harnesses: u64,
}

impl Counts {
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

    /// Sums the `test result:` lines of libtest and its like.
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

    /// The counts of a run that ended as `success` says. A harness that began
    /// and gave no result has died, which is one failure; so is a run that
    /// failed without saying where, or said nothing.
    pub(crate) fn of_run(text: &str, success: bool) -> Self {
        let mut counts = Self::of(text);
        counts.failed += counts.begun.saturating_sub(counts.harnesses);
        if (!success || counts.harnesses == 0) && counts.failed == 0 {
            counts.failed = 1;
        }
        counts
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// What was done.
    pub(crate) name: String,
    /// With which result.
    pub(crate) counts: Counts,
    /// For how long.
    pub(crate) took: Duration,
}

/// The table of steps, with the sum in the last line.
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
    let mut sum = Counts::default();
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
        let sum = Counts::of(TEXT);
        assert_eq!(
            sum,
            Counts {
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
        assert_eq!(Counts::of_run("", true).failed, 1);
        assert_eq!(Counts::of_run(TEXT, false).failed, 1);
        let fine = "test result: ok. 1 passed; 0 failed; 0 ignored;";
        assert_eq!(Counts::of_run(fine, true).failed, 0);
        assert_eq!(Counts::of_run(fine, false).failed, 1);
        let died = format!("{TEXT}running 5 tests\ntest x ... ok\n");
        assert_eq!(Counts::of_run(&died, false).failed, 2);
    }

    #[test]
    fn the_sum_stands_alone_in_the_last_line() {
        let step = |name: &str, counts| Step {
            name: name.to_string(),
            counts,
            took: Duration::from_secs(1),
        };
        let text = table(&[
            step("fmt", Counts::PASSED),
            step("guest 6.12", Counts::of(TEXT)),
            step("x", Counts::SKIPPED),
        ]);
        assert_eq!(text.lines().last(), Some("43 passed, 1 failed, 5 skipped"));
    }
}
