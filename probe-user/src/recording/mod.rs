//! Recordings (`.pscope`): snapshots and events in a file, to be read again without privileges.
//!
//! A recording is a sequence of [`block`]s. Each is compressed and checked separately, so a file
//! that was cut off still opens up to its last whole block. `stored` keeps names and not this
//! version's numbers in the blocks, so that newer versions can read old files.

pub mod block;
mod frame;
mod reader;
mod stored;
mod writer;

pub use frame::{Frame, Frames, Header};
pub use reader::{Recording, RecordingError, is_recording, time_of};
pub use writer::{RecordError, Writer};
