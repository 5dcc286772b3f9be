//! Captures, comparisons and doctor's report as JSON.

pub mod lines;
mod read;

use std::io;

use serde::Serialize;

use crate::model::{Capture, Diff, DoctorReport};

pub use read::{ReadError, read};

/// Writes a capture, indented, with a final line break.
///
/// # Errors
/// Errors of the writer.
pub fn write(out: &mut impl io::Write, capture: &Capture) -> io::Result<()> {
    pretty(out, capture)
}

/// Writes doctor's report, indented, with a final line break.
///
/// # Errors
/// Errors of the writer.
pub fn write_doctor(out: &mut impl io::Write, report: &DoctorReport) -> io::Result<()> {
    pretty(out, report)
}

/// Writes a comparison, indented, with a final line break.
///
/// # Errors
/// Errors of the writer.
pub fn write_diff(out: &mut impl io::Write, diff: &Diff) -> io::Result<()> {
    pretty(out, diff)
}

fn pretty(out: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}
