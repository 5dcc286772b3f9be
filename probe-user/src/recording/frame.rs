//! The contents of a recording: a header, then frames.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::snapshot::{Event, Host, Snapshot};

/// The first block: where and how the recording was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of pinscope that wrote the recording.
    pub pinscope: String,
    /// The machine.
    pub host: Host,
    /// When the probes were attached, as RFC 3339 in UTC.
    pub start: String,
    /// The requested sampling interval, in seconds.
    pub interval: f64,
    /// Whether individual futile unmaps were requested, so that the report includes them.
    #[serde(default)]
    pub events_asked: bool,
}

/// One sample of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// All counts since the probes were attached.
    pub snapshot: Snapshot,
    /// Individual futile unmaps since the previous sample.
    pub events: Vec<Event>,
}

/// A source of frames, read in order or at random.
///
/// The dashboard draws from this and from the live kernel alike.
pub trait Frames {
    /// The machine that was watched.
    fn host(&self) -> &Host;
    /// When the probes were attached, from which [`Snapshot::elapsed`] counts.
    fn start(&self) -> SystemTime;
    /// The number of frames.
    fn count(&self) -> usize;
    /// [`Snapshot::elapsed`] of each frame, ascending.
    fn times(&self) -> &[f64];
    /// Reads one frame.
    ///
    /// # Errors
    /// Returns a sentence that says what is wrong with the file.
    fn frame(&self, index: usize) -> Result<Frame, String>;
    /// Why the recording has no proper end, if it has none: it was cut off or damaged somewhere.
    fn incomplete(&self) -> Option<&str>;
}
