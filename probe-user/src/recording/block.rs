//! The blocks of a recording: a header of 32 bytes, and a payload compressed by zstd.
//!
//! | bytes | what (little-endian) |
//! |---|---|
//! | 0..4 | [`MAGIC`] |
//! | 4 | the format's [`VERSION`] |
//! | 5 | the [`Kind`] |
//! | 6..8 | zero |
//! | 8..12 | the payload's length in the file |
//! | 12..16 | the payload's length when decompressed |
//! | 16..24 | `f64`: seconds since the probes were attached |
//! | 24..28 | CRC-32 of the payload as stored in the file |
//! | 28..32 | CRC-32 of the preceding 28 bytes |
//!
//! The magic of the first block is that of the file. A reader skips kinds that it doesn't know.

use std::io::Read;

/// The magic number at the start of every block, and so of every recording.
pub const MAGIC: [u8; 4] = *b"PSC\x1a";
/// The version of this layout, the only one that is read.
pub const VERSION: u8 = 1;
/// The length of a block's header in bytes.
pub const HEADER: usize = 32;
/// The largest payload, stored or decompressed. Ten thousand groups take a tenth of it.
pub const MAX_PAYLOAD: u32 = 64 << 20;
/// The base-2 logarithm of the largest window for decompression.
const WINDOW_LOG: u32 = 27;
/// The compression level: zstd's default.
const LEVEL: i32 = 3;

/// What a block contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A [`super::Header`]; the first block.
    Header = 1,
    /// A [`super::Frame`].
    Frame = 2,
    /// Nothing: this block marks a proper end of the recording.
    End = 3,
}

/// A block's header whose CRC is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockHeader {
    /// The number of the block's [`Kind`], or of one that this version doesn't know.
    pub kind: u8,
    /// The payload's length in the file.
    pub stored: u32,
    /// The payload's length when decompressed.
    pub raw: u32,
    /// Seconds since the probes were attached.
    pub elapsed: f64,
    crc: u32,
}

fn word(bytes: &[u8; HEADER], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    four.map_or(0, u32::from_le_bytes)
}

impl BlockHeader {
    /// Parses a header.
    ///
    /// # Errors
    /// Returns a sentence if this is no block of this version, or a damaged one.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, String> {
        if bytes[..4] != MAGIC {
            return Err("no block begins here".into());
        }
        if crc32fast::hash(&bytes[..28]) != word(bytes, 28) {
            return Err("a block's header is damaged".into());
        }
        if bytes[4] != VERSION {
            return Err(format!(
                "a block is of format version {}, and this pinscope reads {VERSION}",
                bytes[4]
            ));
        }
        let elapsed = f64::from_bits(u64::from(word(bytes, 20)) << 32 | u64::from(word(bytes, 16)));
        let header = Self {
            kind: bytes[5],
            stored: word(bytes, 8),
            raw: word(bytes, 12),
            elapsed,
            crc: word(bytes, 24),
        };
        if header.stored > MAX_PAYLOAD || header.raw > MAX_PAYLOAD {
            return Err("a block claims to be larger than any block can be".into());
        }
        Ok(header)
    }

    /// Checks a payload.
    ///
    /// # Errors
    /// Returns a sentence if the payload is damaged.
    pub fn check(&self, payload: &[u8]) -> Result<(), String> {
        if payload.len() == self.stored as usize && crc32fast::hash(payload) == self.crc {
            Ok(())
        } else {
            Err("a block is damaged".into())
        }
    }

    /// Checks a payload and decompresses it, in no more memory than the header claims.
    ///
    /// # Errors
    /// Returns a sentence if the payload is damaged.
    pub fn open(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        self.check(payload)?;
        let mut decoder =
            zstd::stream::read::Decoder::with_buffer(payload).map_err(|e| e.to_string())?;
        decoder
            .window_log_max(WINDOW_LOG)
            .map_err(|e| e.to_string())?;
        let mut raw = Vec::new();
        decoder
            .take(u64::from(self.raw) + 1)
            .read_to_end(&mut raw)
            .map_err(|e| format!("a block cannot be decompressed: {e}"))?;
        if raw.len() == self.raw as usize {
            Ok(raw)
        } else {
            Err("a block is not as long as it claims".into())
        }
    }
}

/// Makes a block.
///
/// # Errors
/// Returns a sentence if the payload is too large.
pub fn make(kind: Kind, elapsed: f64, raw: &[u8]) -> Result<Vec<u8>, String> {
    let too_large = || format!("{} MiB do not fit in a block", raw.len() >> 20);
    let payload = zstd::bulk::compress(raw, LEVEL).map_err(|e| e.to_string())?;
    let length = |n: usize| {
        u32::try_from(n)
            .ok()
            .filter(|n| *n <= MAX_PAYLOAD)
            .ok_or_else(too_large)
    };
    let mut block = Vec::with_capacity(HEADER + payload.len());
    block.extend(MAGIC);
    block.extend([VERSION, kind as u8, 0, 0]);
    block.extend(length(payload.len())?.to_le_bytes());
    block.extend(length(raw.len())?.to_le_bytes());
    block.extend(elapsed.to_le_bytes());
    block.extend(crc32fast::hash(&payload).to_le_bytes());
    block.extend(crc32fast::hash(&block).to_le_bytes());
    block.extend(payload);
    Ok(block)
}
