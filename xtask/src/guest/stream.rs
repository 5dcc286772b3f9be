//! Streams out of a guest: the mark at their end, and the sinks that take them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

/// A destination for a stream's bytes.
pub(crate) type Sink = Box<dyn Write + Send>;

/// A stream that a mark ends. Bytes that could begin the mark are kept back until more arrive.
#[derive(Debug)]
pub(crate) struct Marked {
    mark: Vec<u8>,
    held: Vec<u8>,
    ended: bool,
}

impl Marked {
    /// A stream that ends with `mark`.
    pub(crate) fn new(mark: &str) -> Self {
        Self {
            mark: mark.as_bytes().to_vec(),
            held: Vec::new(),
            ended: false,
        }
    }

    /// Takes new bytes and returns those to pass on. After the mark there are none.
    pub(crate) fn push(&mut self, data: &[u8]) -> Vec<u8> {
        if self.ended {
            return Vec::new();
        }
        self.held.extend_from_slice(data);
        if self.held.ends_with(&self.mark) {
            self.ended = true;
            self.held.truncate(self.held.len() - self.mark.len());
            return std::mem::take(&mut self.held);
        }
        let longest = self.held.len().min(self.mark.len());
        let keep = (1..=longest)
            .rev()
            .find(|n| {
                self.held
                    .get(self.held.len() - n..)
                    .is_some_and(|end| self.mark.starts_with(end))
            })
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether the mark has arrived.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }
}

/// A buffer that one thread fills and another reads at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// Returns everything written so far, as text.
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes whole lines to our stderr with a prefix, so that the output of several guests can mix, and
/// keeps them.
#[derive(Debug)]
pub(crate) struct Lines {
    prefix: String,
    line: Vec<u8>,
    kept: Buffer,
}

impl Lines {
    /// Makes a sink that writes lines with this prefix and keeps them in `kept`.
    pub(crate) fn new(prefix: &str, kept: Buffer) -> Self {
        Self {
            prefix: prefix.to_string(),
            line: Vec::new(),
            kept,
        }
    }
}

impl Write for Lines {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.kept.write_all(data)?;
        for &byte in data {
            if byte == b'\n' {
                eprintln!("{}{}", self.prefix, String::from_utf8_lossy(&self.line));
                self.line.clear();
            } else {
                self.line.push(byte);
            }
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Returns our stdout as a sink, without a line buffer in between.
pub(crate) fn raw_stdout() -> Result<Sink> {
    use std::os::fd::AsFd;
    let fd = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot duplicate stdout")?;
    Ok(Box::new(std::fs::File::from(fd)))
}

/// Returns our stderr as a sink.
pub(crate) fn raw_stderr() -> Sink {
    Box::new(io::stderr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(chunks: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut stream = Marked::new("MARKMARX");
        let out = chunks.iter().flat_map(|c| stream.push(c)).collect();
        (out, stream.ended())
    }

    #[test]
    fn the_mark_ends_it_wherever_it_is_cut() {
        let whole = b"some MARK text MMARKMARKMARX";
        for cut in 0..whole.len() {
            let (out, ended) = through(&[&whole[..cut], &whole[cut..]]);
            assert_eq!(out, b"some MARK text MMARK", "cut at {cut}");
            assert!(ended);
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(through(&bytes), (b"some MARK text MMARK".to_vec(), true));
    }

    #[test]
    fn only_what_could_be_the_mark_is_kept_back() {
        let mut stream = Marked::new("MARKMARX");
        assert_eq!(stream.push(b"live\n"), b"live\n");
        assert_eq!(stream.push(b"xM"), b"x");
        assert_eq!(stream.push(b"y"), b"My");
        assert!(!stream.ended());
        assert_eq!(through(&[b"MARKMARX"]), (Vec::new(), true));
        assert_eq!(through(&[b"MARKMARX", b"late"]), (Vec::new(), true));
    }
}
