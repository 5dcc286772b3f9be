//! A capture in progress, one JSON object per line. The key `type` is `start` once, then
//! `interval` and `event` as they occur, and `report` at the end with the whole capture.

use std::io;

use serde::Serialize;

use crate::{
    model::{Capture, EventRecord, Interval, Window, capture::SCHEMA},
    snapshot::{Event, HookStatus, Host},
};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Start {
        schema: &'static str,
        host: &'a Host,
        window: Start<'a>,
        hooks: &'a [HookStatus],
    },
    Interval(&'a Interval),
    Event(EventRecord),
    Report(&'a Capture),
}

#[derive(Serialize)]
struct Start<'a> {
    start: &'a str,
}

/// Writes the first line: the host, the time, and the state of the hooks. The length of the window
/// is not known yet.
///
/// # Errors
/// Errors of the writer.
pub fn start(
    out: &mut impl io::Write,
    host: &Host,
    window: &Window,
    hooks: &[HookStatus],
) -> io::Result<()> {
    line(
        out,
        &Line::Start {
            schema: SCHEMA,
            host,
            window: Start {
                start: &window.start,
            },
            hooks,
        },
    )
}

/// Writes what happened since the previous sample.
///
/// # Errors
/// Errors of the writer.
pub fn interval(out: &mut impl io::Write, interval: &Interval) -> io::Result<()> {
    line(out, &Line::Interval(interval))
}

/// Writes one futile unmap.
///
/// # Errors
/// Errors of the writer.
pub fn event(out: &mut impl io::Write, event: &Event) -> io::Result<()> {
    line(out, &Line::Event(EventRecord::from(event)))
}

/// Writes the last line: the whole capture.
///
/// # Errors
/// Errors of the writer.
pub fn report(out: &mut impl io::Write, capture: &Capture) -> io::Result<()> {
    line(out, &Line::Report(capture))
}

/// Writes a line with one call, so that a reader never sees half of it. Flushing is up to the
/// caller.
fn line(out: &mut impl io::Write, line: &Line<'_>) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}
