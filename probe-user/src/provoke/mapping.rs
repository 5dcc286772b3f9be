//! A mapping of pages: the only place where provocations access memory by address.
//!
//! Nothing here hands out a reference into the mapping. Its pages are shared with the kernel
//! (reclaim, pipes, rings), so single bytes are read and written volatilely, by page number.
#![allow(unsafe_code)]

use std::io::IoSlice;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags};

use super::error::{Error, Result};

/// Returns the page size of this machine, in bytes.
#[must_use]
pub fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}

const READ_WRITE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// A mapping of whole pages, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<libc::c_void>,
    pages: usize,
    page_size: usize,
}

impl Mapping {
    /// Maps `pages` pages of private anonymous memory, read and write.
    pub fn anonymous(pages: usize) -> Result<Self> {
        // SAFETY: no address is given, so no existing mapping is replaced.
        Self::of(pages, |length| unsafe {
            nix::sys::mman::mmap_anonymous(None, length, READ_WRITE, MapFlags::MAP_PRIVATE)
        })
    }

    /// Maps the first `pages` pages of a file, shared, read and write.
    ///
    /// The file must be at least that long: touching a page beyond its end is a SIGBUS.
    pub fn shared(file: impl AsFd, pages: usize) -> Result<Self> {
        // SAFETY: no address is given, so no existing mapping is replaced.
        Self::of(pages, |length| unsafe {
            nix::sys::mman::mmap(None, length, READ_WRITE, MapFlags::MAP_SHARED, file, 0)
        })
    }

    fn of(
        pages: usize,
        map: impl FnOnce(NonZeroUsize) -> nix::Result<NonNull<libc::c_void>>,
    ) -> Result<Self> {
        let page_size = page_size();
        let length = pages
            .checked_mul(page_size)
            .and_then(NonZeroUsize::new)
            .ok_or(Error::OutOfRange {
                what: "the number of pages",
                got: pages as u64,
                allowed: "1 to the size of the address space",
            })?;
        let start = map(length).map_err(|errno| {
            Error::system(
                format!("mapping {length} bytes"),
                errno,
                "ask for fewer pages, or raise RLIMIT_AS",
            )
        })?;
        Ok(Self {
            start,
            pages,
            page_size,
        })
    }

    /// Returns the number of its pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Returns the size of each of its pages, in bytes.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Returns the address of its first byte.
    #[must_use]
    pub fn address(&self) -> usize {
        self.start.as_ptr().addr()
    }

    /// Writes one byte at the start of a page, which faults the page in for writing.
    /// A page number beyond the mapping is ignored.
    pub fn write(&self, page: usize, value: u8) {
        if page < self.pages {
            // SAFETY: the page lies within the mapping, which is readable and writable and
            // lives as long as `self`; no Rust reference into it exists while this runs.
            unsafe {
                let byte = self.start.as_ptr().cast::<u8>().add(page * self.page_size);
                byte.write_volatile(value);
            }
        }
    }

    /// Reads the byte at the start of a page, which faults the page in for reading.
    /// A page number beyond the mapping reads as 0.
    #[must_use]
    pub fn read(&self, page: usize) -> u8 {
        if page >= self.pages {
            return 0;
        }
        // SAFETY: the page lies within the mapping, which is readable and lives as long as
        // `self`.
        unsafe {
            self.start
                .as_ptr()
                .cast::<u8>()
                .add(page * self.page_size)
                .read_volatile()
        }
    }

    /// Adds to the word of 8 bytes with this number, and returns the sum. Processes that share the
    /// mapping may add to a word at the same time. A word beyond the mapping is 0.
    pub(crate) fn add(&self, word: usize, n: u64) -> u64 {
        if word >= self.pages * self.page_size / size_of::<u64>() {
            return 0;
        }
        // SAFETY: the word lies within the mapping and is aligned, because the mapping begins at
        // a page; it is only ever accessed by this function, atomically.
        let counter = unsafe { AtomicU64::from_ptr(self.start.as_ptr().cast::<u64>().add(word)) };
        counter.fetch_add(n, Ordering::Relaxed).wrapping_add(n)
    }

    /// Gives the kernel advice about a run of pages.
    ///
    /// Advice such as MADV_DONTNEED changes memory, but no Rust reference into the mapping exists
    /// that could observe it.
    pub fn advise(&self, run: &Range<usize>, advice: MmapAdvise) -> nix::Result<()> {
        let (start, length) = self.part(run);
        // SAFETY: the run lies within the mapping, and no reference into it is ever held.
        unsafe { nix::sys::mman::madvise(start, length, advice) }
    }

    /// Returns for each page of the mapping whether it is in memory (anonymous memory: mapped, or
    /// in the swap cache).
    pub fn in_memory(&self) -> Result<Vec<bool>> {
        let mut answer = vec![0_u8; self.pages];
        // SAFETY: the vector has one byte for each page of the mapping, as mincore wants.
        let result = unsafe {
            libc::mincore(
                self.start.as_ptr(),
                self.pages * self.page_size,
                answer.as_mut_ptr().cast(),
            )
        };
        Errno::result(result).map_err(|errno| {
            Error::system(
                "asking which pages are in memory (mincore)",
                errno,
                "please report it",
            )
        })?;
        Ok(answer.into_iter().map(|byte| byte & 1 == 1).collect())
    }

    /// Returns the addresses of a run of pages, for registration with a ring.
    pub(crate) fn iovec(&self, run: &Range<usize>) -> libc::iovec {
        let (start, length) = self.part(run);
        libc::iovec {
            iov_base: start.as_ptr(),
            iov_len: length,
        }
    }

    /// Splices runs of pages into a pipe, which then holds a reference on each of them, and
    /// returns the number of bytes spliced.
    pub(crate) fn vmsplice(&self, pipe: impl AsFd, runs: &[Range<usize>]) -> nix::Result<usize> {
        let slices: Vec<IoSlice<'_>> = runs
            .iter()
            .map(|run| {
                let (start, length) = self.part(run);
                // SAFETY: the run lies within the mapping, is initialised by the kernel, and
                // the slice doesn't outlive this call, during which nobody writes to it.
                IoSlice::new(unsafe {
                    std::slice::from_raw_parts(start.as_ptr().cast::<u8>(), length)
                })
            })
            .collect();
        nix::fcntl::vmsplice(pipe, &slices, nix::fcntl::SpliceFFlags::SPLICE_F_NONBLOCK)
    }

    /// Returns the start and the length in bytes of a run, clipped to the mapping.
    fn part(&self, run: &Range<usize>) -> (NonNull<libc::c_void>, usize) {
        let end = run.end.min(self.pages);
        let first = run.start.min(end);
        // SAFETY: first <= pages, so the result lies within the mapping or at its end.
        let start = unsafe { self.start.byte_add(first * self.page_size) };
        (start, (end - first) * self.page_size)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and no reference into it can exist.
        let _ = unsafe { nix::sys::mman::munmap(self.start, self.pages * self.page_size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_where_they_were_written() {
        let map = Mapping::anonymous(3).unwrap();
        for page in 0..3 {
            map.write(page, 7 + page as u8);
        }
        map.write(3, 1);
        assert_eq!(
            [map.read(0), map.read(1), map.read(2), map.read(3)],
            [7, 8, 9, 0]
        );
    }

    #[test]
    fn words_add_up() {
        let map = Mapping::anonymous(1).unwrap();
        assert_eq!((map.add(3, 5), map.add(3, 2), map.add(2, 0)), (5, 7, 0));
        assert_eq!(map.add(map.page_size() / 8, 1), 0);
    }

    #[test]
    fn a_run_is_cut_down_to_the_mapping() {
        let map = Mapping::anonymous(4).unwrap();
        let (start, length) = map.part(&(2..9));
        assert_eq!(start.as_ptr().addr(), map.address() + 2 * map.page_size());
        assert_eq!(length, 2 * map.page_size());
        assert_eq!(map.part(&(7..9)).1, 0);
    }

    #[test]
    fn no_pages_is_refused() {
        assert!(Mapping::anonymous(0).is_err());
        assert!(Mapping::anonymous(usize::MAX).is_err());
    }
}
