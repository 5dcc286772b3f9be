//! Captures, comparisons and doctor's report as JSON.

pub mod lines;

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{Capture, Diff, DoctorReport, capture::SCHEMA};

/// Why a text is not a capture.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is not JSON, or not the JSON of a capture.
    #[error("not a capture in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It has another schema.
    #[error("the schema is {found:?}, and this version reads {SCHEMA:?}")]
    Schema {
        /// The value of `schema`.
        found: String,
    },
    /// It is NDJSON without a `report` line.
    #[error("no line of type \"report\": the capture was cut off")]
    NoReport,
}

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

/// Reads a capture from JSON, or from the `report` line of NDJSON.
///
/// # Errors
/// If `text` is not a capture of this schema.
pub fn read(text: &str) -> Result<Capture, ReadError> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "type")]
        kind: Option<String>,
        schema: Option<String>,
    }
    let line: Line = match serde_json::from_str(text) {
        Ok(line) => line,
        Err(error) => {
            // Several values in a row are NDJSON.
            let first = text
                .lines()
                .next()
                .and_then(|l| serde_json::from_str::<Line>(l).ok());
            return match first.and_then(|l| l.kind) {
                Some(_) => lines::read(text),
                None => Err(error.into()),
            };
        }
    };
    match (line.kind.as_deref(), line.schema) {
        (None | Some("report"), Some(schema)) if schema == SCHEMA => {
            Ok(serde_json::from_str(text)?)
        }
        (Some("start" | "interval" | "event"), _) => Err(ReadError::NoReport),
        (_, found) => Err(ReadError::Schema {
            found: found.unwrap_or_default(),
        }),
    }
}
