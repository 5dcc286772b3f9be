//! Reads captures back from JSON and NDJSON.

use serde::Deserialize;
use thiserror::Error;

use crate::model::{Capture, capture::SCHEMA};

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
                Some(_) => last_report(text),
                None => Err(error.into()),
            };
        }
    };
    match (line.kind.as_deref(), line.schema) {
        (None | Some("report"), Some(schema)) if schema == SCHEMA => {
            let mut capture: Capture = serde_json::from_str(text)?;
            capture.hooks.retain(|hook| !hook.is_only_planned());
            Ok(capture)
        }
        (Some("start" | "interval" | "event"), _) => Err(ReadError::NoReport),
        (_, found) => Err(ReadError::Schema {
            found: found.unwrap_or_default(),
        }),
    }
}

/// Reads the capture of the last `report` line.
fn last_report(text: &str) -> Result<Capture, ReadError> {
    #[derive(serde::Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let report = text
        .lines()
        .rev()
        .find(|line| serde_json::from_str::<Kind>(line).is_ok_and(|kind| kind.kind == "report"));
    read(report.ok_or(ReadError::NoReport)?)
}
