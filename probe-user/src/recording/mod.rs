//! Recordings (`.pscope`): snapshots and events as they were taken, in a file, to be looked at
//! again without privileges.

use crate::snapshot::{Event, Host, Snapshot};

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
    fn start(&self) -> std::time::SystemTime;
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
