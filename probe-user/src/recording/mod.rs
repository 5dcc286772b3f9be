//! Recordings (`.pscope`): snapshots and events as they were taken, in a file, to be looked at
//! again without privileges.
//!
//! A recording is a row of [`block`]s, each compressed and checked by itself, so that a file that
//! was cut off anywhere still opens up to its last whole block. What the blocks hold is
//! [`stored`] in words, not in this version's numbers, so that old files open in newer versions.

pub mod block;
mod reader;
mod stored;
mod writer;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use reader::{Recording, RecordingError, is_recording, time_of};
pub use writer::{RecordError, Writer};

use crate::snapshot::{Event, Host, Snapshot};

/// The first block: where and how the recording was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of pinscope that wrote it.
    pub pinscope: String,
    /// The machine.
    pub host: Host,
    /// When the probes were attached, as RFC 3339 in UTC.
    pub start: String,
    /// Seconds between looks, as asked for.
    pub interval: f64,
    /// Whether single futile unmaps were asked for, so that the report shows them.
    #[serde(default)]
    pub events_asked: bool,
}

/// What was seen at one look.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// All counts, since the probes were attached.
    pub snapshot: Snapshot,
    /// Single futile unmaps since the look before.
    pub events: Vec<Event>,
}

/// Where frames come from, one after the other or at will: a recording read again.
///
/// The dashboard draws from this and from the live kernel alike.
pub trait Frames {
    /// The machine that was watched.
    fn host(&self) -> &Host;
    /// When the probes were attached (what [`Snapshot::elapsed`] counts from).
    fn start(&self) -> SystemTime;
    /// How many frames there are.
    fn count(&self) -> usize;
    /// [`Snapshot::elapsed`] of each frame, ascending.
    fn times(&self) -> &[f64];
    /// Reads one frame.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    fn frame(&self, index: usize) -> Result<Frame, String>;
    /// Why the recording has no proper end, if so: it was cut off, or damaged, at some byte.
    fn incomplete(&self) -> Option<&str>;
}
