//! The text report that `pinscope capture` and `pinscope report` print.

use std::io;

use super::{
    page::{Ink, Page, Span, Style},
    sections,
};
use crate::model::{AnswerWord, Capture, wording};

/// The report of a capture.
pub fn report(capture: &Capture, style: &Style) -> String {
    let mut page = Page::new(*style);
    title(&mut page, capture);
    answer(&mut page, capture);
    sections::verdicts(&mut page, capture);
    sections::victims(&mut page, capture);
    sections::reclaimers(&mut page, capture);
    sections::distributions(&mut page, capture);
    sections::notifiers(&mut page, capture);
    sections::findings(&mut page, capture);
    sections::gaps(&mut page, capture);
    sections::reliability(&mut page, capture);
    page.finish()
}

/// Writes the report of a capture.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl io::Write, capture: &Capture, style: &Style) -> io::Result<()> {
    out.write_all(report(capture, style).as_bytes())
}

fn title(page: &mut Page, capture: &Capture) {
    let host = &capture.host;
    page.line(&[
        Span::new(Ink::Bold, "pinscope capture"),
        Span::plain(format!(" · {} · Linux {}", host.hostname, host.kernel)),
    ]);
    let (active, all) = capture.active_hooks();
    let window = format!(
        "{}, {} · {} · {active} of {all} hooks active",
        clock(&capture.window.start),
        wording::span(capture.window.seconds),
        wording::counted(host.cpus.into(), "CPU"),
    );
    page.wrapped("", "", Ink::Plain, &window);
}

/// Formats an RFC 3339 time in UTC as `2026-08-01 12:00:00 UTC`; returns anything else as it is.
fn clock(start: &str) -> String {
    let Some((date, time)) = start.strip_suffix('Z').and_then(|s| s.split_once('T')) else {
        return start.to_owned();
    };
    let whole = time.split_once('.').map_or(time, |(whole, _)| whole);
    format!("{date} {whole} UTC")
}

fn answer(page: &mut Page, capture: &Capture) {
    let ink = match capture.answer.word {
        AnswerWord::Yes => Ink::Bad,
        AnswerWord::Barely | AnswerWord::CantTell => Ink::Warn,
        AnswerWord::No => Ink::Good,
    };
    page.blank();
    page.wrapped("", "", ink, &capture.answer.text);
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn clocks() {
        assert_eq!(clock("2026-08-01T12:00:00.123Z"), "2026-08-01 12:00:00 UTC");
        assert_eq!(clock("2026-08-01T12:00:00Z"), "2026-08-01 12:00:00 UTC");
        assert_eq!(clock("yesterday"), "yesterday");
    }
}
