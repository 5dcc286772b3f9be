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

/// Why a recording can't be written, or not further.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It is there already.
    #[error("{0} is there already: a recording is never written over; name another file")]
    Exists(PathBuf),
    /// The file system refused.
    #[error("cannot write the recording {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A look that can't be kept.
    #[error("cannot keep a look in the recording {path}: {reason}")]
    Keep {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A recording that is being made. Every block is handed to the kernel whole, so whatever ends
/// this process, what was written stays readable.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
}

impl Writer {
    /// Begins a recording.
    ///
    /// # Errors
    /// If the file is there already, or can't be written.
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
        let bytes = serde_json::to_vec(header).map_err(|e| writer.keep(e.to_string()))?;
        writer.put(Kind::Header, 0.0, &bytes)?;
        Ok(writer)
    }

    /// Adds one look.
    ///
    /// # Errors
    /// If it can't be written; the blocks before it are whole all the same.
    pub fn frame(&mut self, snapshot: &Snapshot, events: &[Event]) -> Result<(), RecordError> {
        let bytes = stored::write(snapshot, events).map_err(|reason| self.keep(reason))?;
        self.put(Kind::Frame, snapshot.elapsed, &bytes)
    }

    /// Ends the recording in good order.
    ///
    /// # Errors
    /// If that can't be written.
    pub fn finish(mut self) -> Result<(), RecordError> {
        self.put(Kind::End, 0.0, &[])?;
        self.file.sync_all().map_err(|source| self.write(source))
    }

    /// Leaves nothing behind, where nothing was captured.
    pub fn abandon(self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn put(&mut self, kind: Kind, elapsed: f64, raw: &[u8]) -> Result<(), RecordError> {
        let block = block::make(kind, elapsed, raw).map_err(|reason| self.keep(reason))?;
        let whole = self
            .file
            .stream_position()
            .map_err(|source| self.write(source))?;
        self.file.write_all(&block).map_err(|source| {
            // Half a block would only be in the way.
            let _ = self.file.set_len(whole);
            self.write(source)
        })
    }

    fn write(&self, source: io::Error) -> RecordError {
        RecordError::Write {
            path: self.path.clone(),
            source,
        }
    }

    fn keep(&self, reason: String) -> RecordError {
        RecordError::Keep {
            path: self.path.clone(),
            reason,
        }
    }
}
