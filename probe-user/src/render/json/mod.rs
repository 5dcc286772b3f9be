//! Captures and doctor's report as JSON.

pub mod lines;

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{Capture, Diff, DoctorReport, capture::SCHEMA};

/// Why a text isn't a capture.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It isn't JSON, or not that of a capture.
    #[error("not a capture in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON of another kind or version.
    #[error("the schema is {found:?}, and this version reads {SCHEMA:?}")]
    Schema {
        /// What `schema` says.
        found: String,
    },
    /// NDJSON without its last line.
    #[error("no line of type \"report\": the capture was cut off")]
    NoReport,
}

/// Writes a capture, indented, with a line break at the end.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl io::Write, capture: &Capture) -> io::Result<()> {
    pretty(out, capture)
}

/// Writes doctor's report, indented, with a line break at the end.
///
/// # Errors
/// Those of the writer.
pub fn write_doctor(out: &mut impl io::Write, report: &DoctorReport) -> io::Result<()> {
    pretty(out, report)
}

/// Writes a comparison, indented, with a line break at the end.
///
/// # Errors
/// Those of the writer.
pub fn write_diff(out: &mut impl io::Write, diff: &Diff) -> io::Result<()> {
    pretty(out, diff)
}

fn pretty(out: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reads a capture back: from JSON, or from the last line of NDJSON.
///
/// # Errors
/// If `text` is no capture of this schema.
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
            // Several values one after the other are NDJSON.
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
