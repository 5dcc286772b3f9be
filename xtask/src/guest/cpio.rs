//! A writer of cpio archives in the "newc" format, which the kernel unpacks as its first root file
//! system.
//!
//! Kept by hand: it is short, it writes device nodes without root, and the same content makes
//! the same archive.

use std::io::{self, Write};

/// The mode of a directory, 0755.
pub(crate) const DIRECTORY: u32 = 0o040_755;
/// The mode of a program, 0755.
pub(crate) const PROGRAM: u32 = 0o100_755;
/// The mode of a plain file, 0644.
pub(crate) const FILE: u32 = 0o100_644;
/// The mode of a symbolic link.
pub(crate) const LINK: u32 = 0o120_777;
/// The mode of a character device, 0600.
pub(crate) const CHAR: u32 = 0o020_600;

/// Writes entries in order. All belong to root and have the time 0, so that the same content makes
/// the same archive.
#[derive(Debug)]
pub(crate) struct CpioWriter<W: Write> {
    out: W,
    next_inode: u32,
}

impl<W: Write> CpioWriter<W> {
    /// Starts an archive.
    pub(crate) fn new(out: W) -> Self {
        Self { out, next_inode: 1 }
    }

    /// Adds an entry. `name` is the path without a leading slash; `data` is a file's content or a
    /// link's target.
    pub(crate) fn entry(&mut self, name: &[u8], mode: u32, data: &[u8]) -> io::Result<()> {
        self.write(name, mode, (0, 0), data)
    }

    /// Adds a device node.
    pub(crate) fn device(&mut self, name: &[u8], mode: u32, rdev: (u32, u32)) -> io::Result<()> {
        self.write(name, mode, rdev, &[])
    }

    /// Ends the archive and returns the underlying writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.next_inode = 0;
        self.write(b"TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.out)
    }

    fn write(&mut self, name: &[u8], mode: u32, rdev: (u32, u32), data: &[u8]) -> io::Result<()> {
        let too_big = |_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "an entry of more than 4 GiB, which the format cannot hold",
            )
        };
        let size = u32::try_from(data.len()).map_err(too_big)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_big)?;
        self.out.write_all(b"070701")?;
        let inode = self.next_inode;
        self.next_inode += 1;
        let links = 1;
        let (uid, gid, time, major, minor, check) = (0, 0, 0, 0, 0, 0);
        for field in [
            inode, mode, uid, gid, links, time, size, major, minor, rdev.0, rdev.1, name_size,
            check,
        ] {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        pad(&mut self.out, 110 + name.len() + 1)?;
        self.out.write_all(data)?;
        pad(&mut self.out, data.len())
    }
}

/// Fills a header or a content up to a multiple of four bytes.
fn pad(out: &mut impl Write, written: usize) -> io::Result<()> {
    let missing = written.next_multiple_of(4) - written;
    out.write_all([0; 3].get(..missing).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn sample() -> Vec<u8> {
        let mut w = CpioWriter::new(Vec::new());
        w.entry(b"etc", DIRECTORY, b"").unwrap();
        w.entry(b"etc/five", FILE, b"12345").unwrap();
        w.entry(b"run", PROGRAM, b"#!/bin/sh\n").unwrap();
        w.entry(b"link", LINK, b"etc/five").unwrap();
        w.device(b"console", CHAR, (5, 1)).unwrap();
        w.finish().unwrap()
    }

    #[test]
    fn layout() {
        let bytes = sample();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(bytes.len() % 4, 0);
        let five = 112 + 4; // "etc\0" fills the first header up to 116
        assert_eq!(&bytes[five..five + 6], b"070701");
        assert_eq!(&bytes[five + 54..five + 62], b"00000005", "the size");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("0000000500000001"), "the console's numbers");
        assert!(text.contains("TRAILER!!!"));
    }

    #[test]
    fn cpio_reads_it() {
        let Ok(mut child) = Command::new("cpio")
            .args(["-tv", "--quiet", "-H", "newc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return; // no cpio on this machine; the layout is tested above
        };
        child.stdin.take().unwrap().write_all(&sample()).unwrap();
        let out = child.wait_with_output().unwrap();
        let listing = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success());
        assert!(listing.contains("link -> etc/five"), "{listing}");
        assert!(listing.contains("drwxr-xr-x"), "{listing}");
        assert!(listing.contains("crw-------"), "{listing}");
        assert_eq!(listing.lines().count(), 5, "{listing}");
    }
}
