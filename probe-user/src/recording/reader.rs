//! Reads a recording: indexes all blocks on opening, and decodes frames one at a time.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, SystemTime},
};

use thiserror::Error;

use super::{
    Frame, Frames, Header,
    block::{BlockHeader, HEADER, Kind, MAGIC},
    stored,
};
use crate::snapshot::Host;

/// The most samples that are indexed: more than a year of them, one every ten seconds.
const MAX_FRAMES: usize = 1 << 22;

/// Why a file cannot be read as a recording.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The file does not begin as a recording does.
    #[error("it is not a recording: {0}")]
    NotOne(String),
    /// The recording ends before its first sample.
    #[error("the recording has no sample: {0}")]
    Empty(String),
}

/// The bytes of a recording.
#[derive(Debug)]
enum Bytes {
    File(File, u64),
    Memory(Vec<u8>),
}

impl Bytes {
    fn len(&self) -> u64 {
        match self {
            Bytes::File(_, length) => *length,
            Bytes::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `to` from offset `at`.
    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Bytes::File(file, _) => file.read_exact_at(to, at),
            Bytes::Memory(bytes) => {
                let from = usize::try_from(at).ok().and_then(|at| {
                    let end = at.checked_add(to.len())?;
                    bytes.get(at..end)
                });
                to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// An open recording.
#[derive(Debug)]
pub struct Recording {
    bytes: Bytes,
    header: Header,
    start: SystemTime,
    frames: Vec<u64>,
    times: Vec<f64>,
    incomplete: Option<String>,
}

/// Returns whether bytes begin as a recording does.
pub fn is_recording(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

impl Recording {
    /// Opens a file and checks its blocks. A recording that was cut off opens too.
    ///
    /// # Errors
    /// Returns an error if the file is no recording, or has no sample.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Self::index(Bytes::File(file, length))
    }

    /// Opens a recording from the bytes of a file.
    ///
    /// # Errors
    /// As for [`Recording::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, RecordingError> {
        Self::index(Bytes::Memory(bytes))
    }

    fn index(bytes: Bytes) -> Result<Self, RecordingError> {
        let mut at = 0;
        let (first, payload) =
            block(&bytes, at).map_err(|e| RecordingError::NotOne(e.to_string()))?;
        if first.kind != Kind::Header as u8 {
            return Err(RecordingError::NotOne("its first block is missing".into()));
        }
        let raw = first.open(&payload).map_err(RecordingError::NotOne)?;
        let header: Header = serde_json::from_slice(&raw)
            .map_err(|e| RecordingError::NotOne(format!("its first block: {e}")))?;
        let start = humantime::parse_rfc3339(&header.start)
            .map_err(|e| RecordingError::NotOne(format!("its start, {}: {e}", header.start)))?;
        let mut frames = Vec::new();
        let mut times: Vec<f64> = Vec::new();
        let mut end = false;
        let mut why = None;
        at += HEADER as u64 + u64::from(first.stored);
        while at < bytes.len() && !end {
            match block(&bytes, at) {
                Ok((header, _)) => {
                    let in_order = header.elapsed.is_finite()
                        && times.last().is_none_or(|t| *t <= header.elapsed);
                    if header.kind == Kind::Frame as u8 {
                        if !in_order || frames.len() >= MAX_FRAMES {
                            why = Some(format!("the samples from byte {at} on are out of order"));
                            break;
                        }
                        frames.push(at);
                        times.push(header.elapsed);
                    }
                    end = header.kind == Kind::End as u8;
                    at += HEADER as u64 + u64::from(header.stored);
                }
                Err(error) => {
                    why = Some(format!("at byte {at} of {} {error}", bytes.len()));
                    break;
                }
            }
        }
        let samples = frames.len();
        let incomplete = match (end, why) {
            (true, None) => None,
            (_, Some(why)) => Some(format!("it is read up to sample {samples}: {why}")),
            (false, None) => Some(format!(
                "it was cut off after sample {samples}: its writer was ended, or is still running"
            )),
        };
        if frames.is_empty() {
            return Err(RecordingError::Empty(
                incomplete.unwrap_or_else(|| "it ends after its header".into()),
            ));
        }
        Ok(Self {
            bytes,
            header,
            start,
            frames,
            times,
            incomplete,
        })
    }

    /// Returns where and how the recording was made.
    pub fn header(&self) -> &Header {
        &self.header
    }
}

/// Why a block cannot be read.
#[derive(Debug, Error)]
enum BlockError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it ends within a block")]
    CutOff,
    #[error("{0}")]
    Bad(String),
}

/// Reads the block at `at`; its payload is checked, but not decompressed.
fn block(bytes: &Bytes, at: u64) -> Result<(BlockHeader, Vec<u8>), BlockError> {
    let left = bytes.len().saturating_sub(at);
    if left < HEADER as u64 {
        let mut start = [0; MAGIC.len()];
        let whole = left >= MAGIC.len() as u64;
        if whole {
            bytes.read_at(&mut start, at)?;
        }
        return Err(if whole && start != MAGIC {
            BlockError::Bad("no block begins here".into())
        } else {
            BlockError::CutOff
        });
    }
    let mut header = [0; HEADER];
    bytes.read_at(&mut header, at)?;
    let header = BlockHeader::parse(&header).map_err(BlockError::Bad)?;
    // Checked before memory is allocated: the length may not exceed the file.
    if left - (HEADER as u64) < u64::from(header.stored) {
        return Err(BlockError::CutOff);
    }
    let mut payload = vec![0; header.stored as usize];
    bytes.read_at(&mut payload, at + HEADER as u64)?;
    header.check(&payload).map_err(BlockError::Bad)?;
    Ok((header, payload))
}

impl Frames for Recording {
    fn host(&self) -> &Host {
        &self.header.host
    }

    fn start(&self) -> SystemTime {
        self.start
    }

    fn count(&self) -> usize {
        self.frames.len()
    }

    fn times(&self) -> &[f64] {
        &self.times
    }

    fn frame(&self, index: usize) -> Result<Frame, String> {
        let at = *self.frames.get(index).ok_or_else(|| {
            format!(
                "there are {} samples, and none has the index {index}",
                self.frames.len()
            )
        })?;
        let of = |e: String| format!("sample {} at byte {at}: {e}", index + 1);
        let (header, payload) = block(&self.bytes, at).map_err(|e| of(e.to_string()))?;
        stored::read(&header.open(&payload).map_err(of)?).map_err(of)
    }

    fn incomplete(&self) -> Option<&str> {
        self.incomplete.as_deref()
    }
}

/// Returns the time of a sample.
pub fn time_of(start: SystemTime, elapsed: f64) -> SystemTime {
    Duration::try_from_secs_f64(elapsed)
        .ok()
        .and_then(|d| start.checked_add(d))
        .unwrap_or(start)
}
