//! The progress line of a capture on a terminal.

use std::time::Duration;

use crate::model::{Totals, wording};

/// Renders what a capture has seen so far as one short line, without a line break.
pub fn progress_line(elapsed: Duration, totals: &Totals) -> String {
    let time = wording::span(elapsed.as_secs_f64().round());
    let Some(total) = totals.unmaps.total else {
        return format!("{time}: unmaps are not measured");
    };
    if total == 0 {
        return format!("{time}: no unmap yet");
    }
    let futile = totals.futile().map_or_else(
        || "-".to_owned(),
        |n| format!("{} ({})", wording::count(n), wording::share(n, total)),
    );
    let notified = totals
        .notifier
        .in_futile
        .filter(|n| *n > 0)
        .map_or_else(String::new, |n| {
            format!(", with {}", wording::counted(n, "notifier call"))
        });
    format!(
        "{time}: {}, {futile} futile{notified}",
        wording::counted(total, "unmap")
    )
}
