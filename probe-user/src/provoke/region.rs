//! Regions of memory of a known kind, whose pages are order-0 folios and belong to nobody else.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::MmapAdvise;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result, at_file};
use super::mapping::Mapping;
use super::subset::Subset;

/// ramfs has no name in nix.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// What backs a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backing {
    /// Private anonymous memory, written.
    Anon,
    /// A memfd, mapped shared, written: `shmem` to the kernel.
    Memfd,
    /// An unlinked file on a disk file system, mapped shared and only read: its pages are clean.
    File,
    /// Private anonymous memory, written and then given back with MADV_FREE.
    Lazyfree,
}

impl Backing {
    /// Returns pinscope's word for the memory: `anon`, `shmem`, `file` or `lazyfree`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Memfd => "shmem",
            Self::File => "file",
            Self::Lazyfree => "lazyfree",
        }
    }
}

/// A region of memory of one kind. It goes away on drop, along with its file.
#[derive(Debug)]
pub struct Region {
    memory: Backing,
    map: Rc<Mapping>,
    /// Keeps the file's page cache while the region lives.
    file: Option<File>,
}

impl Region {
    /// Makes a region of `pages` pages. A file is made in `directory` and unlinked at once.
    ///
    /// No page is faulted in yet: see [`touch`](Self::touch).
    pub fn new(memory: Backing, pages: usize, directory: &Path) -> Result<Self> {
        let (map, file) = match memory {
            Backing::Anon | Backing::Lazyfree => (Mapping::anonymous(pages)?, None),
            Backing::Memfd => {
                let file = new_memfd(pages)?;
                (Mapping::shared(&file, pages)?, Some(file))
            }
            Backing::File => {
                let file = new_file(pages, directory)?;
                (Mapping::shared(&file, pages)?, Some(file))
            }
        };
        // Order-0 folios only: a large folio would be split first, or be one unmap for many
        // pages. Kernels without THP return EINVAL and need no advice.
        match map.advise(&(0..pages), MmapAdvise::MADV_NOHUGEPAGE) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(advice_failed("MADV_NOHUGEPAGE", errno)),
        }
        // No readahead: it would bring in neighbours of a faulting page in large folios, and
        // swapped-out pages that then sit on the LRU unmapped.
        map.advise(&(0..pages), MmapAdvise::MADV_RANDOM)
            .map_err(|errno| advice_failed("MADV_RANDOM", errno))?;
        Ok(Self {
            memory,
            map: Rc::new(map),
            file,
        })
    }

    /// Returns what backs the region.
    #[must_use]
    pub fn memory(&self) -> Backing {
        self.memory
    }

    /// Returns the number of its pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.map.pages()
    }

    /// Returns its mapping.
    #[must_use]
    pub fn mapping(&self) -> &Rc<Mapping> {
        &self.map
    }

    /// Writes `stamp` into every page. A file is only read, so that it stays clean.
    pub fn touch(&self, stamp: u8) {
        for page in 0..self.pages() {
            if self.memory == Backing::File {
                let _ = self.map.read(page);
            } else {
                self.map.write(page, stamp);
            }
        }
    }

    /// Gives lazyfree memory back with MADV_FREE; does nothing to other memory. Call it after each
    /// touch.
    ///
    /// Take references first: taking them for writing makes the memory dirty again.
    pub fn give_back(&self) -> Result<()> {
        if self.memory != Backing::Lazyfree {
            return Ok(());
        }
        self.map
            .advise(&(0..self.pages()), MmapAdvise::MADV_FREE)
            .map_err(|errno| advice_failed("MADV_FREE", errno))
    }

    /// Reads runs of pages back, which faults them in, and counts the pages that don't hold
    /// `stamp`: 0 unless the kernel lost data. Lazyfree memory and files hold no stamp, so they
    /// are read and never counted.
    #[must_use]
    pub fn read_back(&self, runs: &[Range<usize>], stamp: u8) -> u64 {
        let stamped = matches!(self.memory, Backing::Anon | Backing::Memfd);
        let pages = runs.iter().cloned().flatten();
        pages
            .filter(|&page| self.map.read(page) != stamp && stamped)
            .count() as u64
    }

    /// Discards pages, so that the next touch allocates new folios.
    ///
    /// A page that was swapped out and in again may still be under writeback, or be in another
    /// CPU's batch of rotated folios, which holds one more reference on it. Either would change
    /// what the next reclaim does to it; a new folio has no such past. Files are left alone: their
    /// pages were freed or are clean.
    pub fn forget(&self, runs: &[Range<usize>]) -> Result<()> {
        let (advice, name) = match self.memory {
            Backing::Anon | Backing::Lazyfree => (MmapAdvise::MADV_DONTNEED, "MADV_DONTNEED"),
            Backing::Memfd => (MmapAdvise::MADV_REMOVE, "MADV_REMOVE"),
            Backing::File => return Ok(()),
        };
        for run in runs {
            self.map
                .advise(run, advice)
                .map_err(|errno| advice_failed(name, errno))?;
        }
        Ok(())
    }

    /// Returns the runs of pages that a subset leaves out.
    #[must_use]
    pub fn runs_outside(&self, subset: Subset) -> Vec<Range<usize>> {
        subset.complement().runs(self.pages())
    }

    /// Returns the file behind the region, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }
}

/// Returns the directory in which files are made by default: the one for temporary files.
#[must_use]
pub fn default_directory() -> PathBuf {
    std::env::temp_dir()
}

fn new_memfd(pages: usize) -> Result<File> {
    let fd = memfd_create(c"pinscope-provoke", MFdFlags::MFD_CLOEXEC).map_err(|errno| {
        Error::system(
            "making a memfd",
            errno,
            "raise the limit of open files (ulimit -n)",
        )
    })?;
    let file = File::from(fd);
    let length = pages as u64 * super::mapping::page_size() as u64;
    file.set_len(length)
        .map_err(at_file("making room in", "a memfd", "ask for fewer pages"))?;
    Ok(file)
}

/// Makes a file of `pages` pages on disk, none of them in the page cache.
fn new_file(pages: usize, directory: &Path) -> Result<File> {
    let mut file = unlinked_file(directory)?;
    match fstatfs(&file).map(|stat| stat.filesystem_type()) {
        Ok(TMPFS_MAGIC | RAMFS_MAGIC) => {
            return Err(Error::lacking(
                format!(
                    "{} is in memory, not on a disk file system",
                    directory.display()
                ),
                "name a directory on a disk file system with --dir",
            ));
        }
        Ok(_) => {}
        Err(errno) => {
            return Err(Error::system(
                format!("determining the file system of {}", directory.display()),
                errno,
                "name another directory with --dir",
            ));
        }
    }
    let page_size = super::mapping::page_size();
    let full = "make room there, or name another directory with --dir";
    let page = vec![0x5a_u8; page_size];
    for _ in 0..pages {
        file.write_all(&page)
            .map_err(at_file("writing a file in", directory, full))?;
    }
    file.sync_all()
        .map_err(at_file("syncing a file in", directory, full))?;
    file.seek(SeekFrom::Start(0))
        .map_err(at_file("rewinding a file in", directory, full))?;
    // On some kernels the written pages are large folios, and carry buffers. Drop them, so that
    // the mapping's faults read each page on its own.
    for advice in [
        PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        PosixFadviseAdvice::POSIX_FADV_RANDOM,
    ] {
        posix_fadvise(&file, 0, 0, advice).map_err(|errno| {
            Error::system(
                "dropping a file from the page cache",
                errno,
                "please report it",
            )
        })?;
    }
    Ok(file)
}

/// Makes a file without a name. On a file system without O_TMPFILE it has a name for an instant.
fn unlinked_file(directory: &Path) -> Result<File> {
    let remedy = "name a writable directory with --dir";
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    if let Ok(file) = options
        .clone()
        .custom_flags(libc::O_TMPFILE)
        .open(directory)
    {
        return Ok(file);
    }
    let path = directory.join(format!(".pinscope-provoke-{}", std::process::id()));
    let file = options.create_new(true).open(&path).map_err(at_file(
        "making a file in",
        directory,
        remedy,
    ))?;
    std::fs::remove_file(&path).map_err(at_file("unlinking", &path, remedy))?;
    Ok(file)
}

pub(super) fn advice_failed(name: &str, errno: Errno) -> Error {
    let remedy = match errno {
        Errno::EINVAL => "it needs Linux 5.4 or later",
        Errno::EPERM | Errno::EACCES => "run it as the owner of the memory, or as root",
        _ => "ask for fewer pages",
    };
    Error::system(format!("madvise {name}"), errno, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_page_is_zero_and_the_others_keep_their_stamp() {
        for memory in [Backing::Anon, Backing::Memfd] {
            let region = Region::new(memory, 8, &default_directory()).unwrap();
            region.touch(9);
            let odd = region.runs_outside(Subset::EverySecond);
            assert_eq!(region.read_back(&odd, 9), 0);
            region.forget(&odd).unwrap();
            assert_eq!(region.read_back(&odd, 0), 0, "{memory:?}");
            assert_eq!(
                region.read_back(&Subset::EverySecond.runs(8), 9),
                0,
                "{memory:?}"
            );
        }
    }

    #[test]
    fn a_file_in_memory_is_refused_where_there_is_one() {
        if Path::new("/dev/shm").is_dir() {
            let error = Region::new(Backing::File, 1, Path::new("/dev/shm")).unwrap_err();
            assert!(error.is_not_applicable(), "{error}");
        }
    }

    #[test]
    fn no_page_of_a_new_file_is_cached() {
        if let Ok(region) = Region::new(Backing::File, 32, &default_directory()) {
            assert_eq!(region.mapping().in_memory().unwrap(), vec![false; 32]);
        }
    }
}
