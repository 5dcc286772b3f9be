//! Writes a recording, block by block.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    Header,
    block::{self, Kind},
    stored,
};
use crate::snapshot::{Event, Snapshot};

/// Why a recording cannot be written, or not continued.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file exists.
    #[error("{0} exists: a recording never overwrites a file; name another one")]
    Exists(PathBuf),
    /// The file system reported an error.
    #[error("cannot write the recording {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A sample cannot be stored.
    #[error("cannot store a sample in the recording {path}: {reason}")]
    Store {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// A recording in progress. Every block is handed to the kernel whole, so what was written stays
/// readable however this process ends.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
}

impl Writer {
    /// Starts a recording.
    ///
    /// # Errors
    /// Returns an error if the file exists or cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordError> {
        let opened = OpenOptions::new().write(true).create_new(true).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RecordError::Exists(path.to_owned()));
            }
            Err(source) => {
                return Err(RecordError::Write {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let mut writer = Self {
            file,
            path: path.to_owned(),
        };
        let bytes = serde_json::to_vec(header).map_err(|e| writer.not_stored(e.to_string()));
        match bytes.and_then(|bytes| writer.put(Kind::Header, 0.0, &bytes)) {
            Ok(()) => Ok(writer),
            Err(error) => {
                writer.abandon();
                Err(error)
            }
        }
    }

    /// Adds one sample.
    ///
    /// # Errors
    /// Returns an error if the sample cannot be written; the blocks before it stay whole.
    pub fn frame(&mut self, snapshot: &Snapshot, events: &[Event]) -> Result<(), RecordError> {
        let bytes = stored::write(snapshot, events).map_err(|reason| self.not_stored(reason))?;
        self.put(Kind::Frame, snapshot.elapsed, &bytes)
    }

    /// Ends the recording properly.
    ///
    /// # Errors
    /// Returns an error if the end cannot be written.
    pub fn finish(mut self) -> Result<(), RecordError> {
        self.put(Kind::End, 0.0, &[])?;
        self.file
            .sync_all()
            .map_err(|source| self.not_written(source))
    }

    /// Removes the recording, for a capture that did not start.
    pub fn abandon(self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn put(&mut self, kind: Kind, elapsed: f64, raw: &[u8]) -> Result<(), RecordError> {
        let block = block::make(kind, elapsed, raw).map_err(|reason| self.not_stored(reason))?;
        let whole = self
            .file
            .stream_position()
            .map_err(|source| self.not_written(source))?;
        self.file.write_all(&block).map_err(|source| {
            // Half a block would make the recording look damaged.
            let _ = self.file.set_len(whole);
            self.not_written(source)
        })
    }

    fn not_written(&self, source: io::Error) -> RecordError {
        RecordError::Write {
            path: self.path.clone(),
            source,
        }
    }

    fn not_stored(&self, reason: String) -> RecordError {
        RecordError::Store {
            path: self.path.clone(),
            reason,
        }
    }
}
