//! The text of `pinscope selftest`.

use super::page::{Ink, Page, Span, Style};
use crate::model::{Outcome, SelftestRow, wording};

/// Renders the scenarios of a selftest as text.
pub fn report(rows: &[SelftestRow], style: &Style) -> String {
    let mut page = Page::new(*style);
    let count = |outcome| rows.iter().filter(|r| r.outcome == outcome).count() as u64;
    let (passed, failed, skipped) = (
        count(Outcome::Pass),
        count(Outcome::Fail),
        count(Outcome::Skip),
    );
    page.line(&[Span::new(Ink::Bold, "pinscope selftest")]);
    page.blank();
    for row in rows {
        let (ink, word) = match row.outcome {
            Outcome::Pass => (Ink::Good, "✓ pass"),
            Outcome::Fail => (Ink::Bad, "✗ FAIL"),
            Outcome::Skip => (Ink::Warn, "- skip"),
        };
        page.line(&[
            Span::plain("  "),
            Span::new(ink, word),
            Span::plain("  "),
            Span::new(Ink::Bold, row.scenario.as_str()),
        ]);
        let indent = "          ";
        match row.outcome {
            Outcome::Pass => page.wrapped(indent, indent, Ink::Plain, &row.seen),
            Outcome::Fail => {
                page.wrapped(
                    &format!("{indent}expected "),
                    indent,
                    Ink::Plain,
                    &row.expected,
                );
                page.wrapped(&format!("{indent}seen     "), indent, Ink::Plain, &row.seen);
            }
            Outcome::Skip => {}
        }
        if let Some(reason) = &row.reason {
            page.wrapped(indent, indent, Ink::Plain, reason);
        }
    }
    page.blank();
    let (ink, word) = match (failed, passed) {
        (0, 0) => (Ink::Warn, "No scenario could run"),
        (0, _) => (Ink::Good, "The probes counted exactly what was provoked"),
        _ => (Ink::Bad, "The probes did not count what was provoked"),
    };
    let text = format!(
        "{word}: {} passed, {} failed, {} skipped.",
        wording::count(passed),
        wording::count(failed),
        wording::count(skipped)
    );
    page.wrapped("", "", ink, &text);
    page.finish()
}
