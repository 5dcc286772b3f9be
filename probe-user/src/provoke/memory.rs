//! Regions of memory of a known kind, whose pages are order-0 folios and nobody else's.

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
use super::reference::Subset;

/// ramfs has no name in nix.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// What a region is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// Private anonymous memory, written.
    Anon,
    /// A memfd, mapped shared, written: `shmem` to the kernel.
    Memfd,
    /// An unlinked file of a disk file system, mapped shared, only read: its pages are clean.
    File,
    /// Private anonymous memory, written and then given back by MADV_FREE.
    Lazyfree,
}

impl Memory {
    /// The contract's word for it: `anon`, `shmem`, `file` or `lazyfree`.
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

/// A region of memory of one kind. Gone, with its file, when dropped.
#[derive(Debug)]
pub struct Region {
    memory: Memory,
    map: Rc<Mapping>,
    /// Held so that the page cache of the file stays while the region lives.
    file: Option<File>,
}

impl Region {
    /// Makes a region of `pages` pages. A file is made in `directory`, and unlinked at once.
    ///
    /// None of its pages is faulted in yet: see [`touch`](Self::touch).
    pub fn new(memory: Memory, pages: usize, directory: &Path) -> Result<Self> {
        let (map, file) = match memory {
            Memory::Anon | Memory::Lazyfree => (Mapping::anonymous(pages)?, None),
            Memory::Memfd => {
                let file = new_memfd(pages)?;
                (Mapping::shared(&file, pages)?, Some(file))
            }
            Memory::File => {
                let file = new_file(pages, directory)?;
                (Mapping::shared(&file, pages)?, Some(file))
            }
        };
        // Order-0 folios only: a huge or large folio would be one unmap for many pages, and a
        // split before that. Kernels without THP say EINVAL, and need nothing.
        match map.advise(&(0..pages), MmapAdvise::MADV_NOHUGEPAGE) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(advice_failed("MADV_NOHUGEPAGE", errno)),
        }
        // No readahead: neither neighbours of a faulting page in large folios, nor pages that
        // swap-in brings along and that then lie on the LRU unmapped.
        map.advise(&(0..pages), MmapAdvise::MADV_RANDOM)
            .map_err(|errno| advice_failed("MADV_RANDOM", errno))?;
        Ok(Self {
            memory,
            map: Rc::new(map),
            file,
        })
    }

    /// What it is made of.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.map.pages()
    }

    /// Its mapping.
    #[must_use]
    pub fn mapping(&self) -> &Rc<Mapping> {
        &self.map
    }

    /// Touches every page: writes `stamp` into it. A file is only read, to stay clean.
    pub fn touch(&self, stamp: u8) {
        for page in 0..self.pages() {
            if self.memory == Memory::File {
                let _ = self.map.read(page);
            } else {
                self.map.write(page, stamp);
            }
        }
    }

    /// Gives lazyfree memory back by MADV_FREE, which is to be done after each touch; does
    /// nothing to other memory.
    ///
    /// References on it are to be taken before: taking them for writing makes it dirty again.
    pub fn give_back(&self) -> Result<()> {
        if self.memory != Memory::Lazyfree {
            return Ok(());
        }
        self.map
            .advise(&(0..self.pages()), MmapAdvise::MADV_FREE)
            .map_err(|errno| advice_failed("MADV_FREE", errno))
    }

    /// Reads runs of pages back (faulting them in) and counts those that
    /// don't hold `stamp`: 0 unless the kernel lost data. Lazyfree memory and files, which
    /// hold no stamp, are read and never counted.
    #[must_use]
    pub fn read_back(&self, runs: &[Range<usize>], stamp: u8) -> u64 {
        let stamped = matches!(self.memory, Memory::Anon | Memory::Memfd);
        let pages = runs.iter().cloned().flatten();
        pages
            .filter(|&page| self.map.read(page) != stamp && stamped)
            .count() as u64
    }

    /// Forgets pages, so that the next touch makes new folios of them.
    ///
    /// A page that was swapped out and in again may be under writeback still, or sit in
    /// another CPU's batch of rotated folios with a reference more: either would change what
    /// the next reclaim does to it. A new folio has no past. Files are left alone, their
    /// pages were freed or are clean.
    pub fn forget(&self, runs: &[Range<usize>]) -> Result<()> {
        let (advice, name) = match self.memory {
            Memory::Anon | Memory::Lazyfree => (MmapAdvise::MADV_DONTNEED, "MADV_DONTNEED"),
            Memory::Memfd => (MmapAdvise::MADV_REMOVE, "MADV_REMOVE"),
            Memory::File => return Ok(()),
        };
        for run in runs {
            self.map
                .advise(run, advice)
                .map_err(|errno| advice_failed(name, errno))?;
        }
        Ok(())
    }

    /// The runs of pages that a subset leaves out.
    #[must_use]
    pub fn runs_outside(&self, subset: Subset) -> Vec<Range<usize>> {
        subset.complement().runs(self.pages())
    }

    /// The file behind it, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }
}

/// The directory files are made in unless another is given: the one of temporary files.
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

/// A file of `pages` pages on disk, none of them in the page cache.
fn new_file(pages: usize, directory: &Path) -> Result<File> {
    let mut file = unlinked_file(directory)?;
    match fstatfs(&file).map(|stat| stat.filesystem_type()) {
        Ok(TMPFS_MAGIC | RAMFS_MAGIC) => {
            return Err(Error::lacking(
                format!("{} is memory, not a disk file system", directory.display()),
                "name a directory on a disk file system by --dir",
            ));
        }
        Ok(_) => {}
        Err(errno) => {
            return Err(Error::system(
                format!("asking what file system {} is", directory.display()),
                errno,
                "name another directory by --dir",
            ));
        }
    }
    let page_size = super::mapping::page_size();
    let full = "make room there, or name another directory by --dir";
    let page = vec![0x5a_u8; page_size];
    for _ in 0..pages {
        file.write_all(&page)
            .map_err(at_file("writing a file in", directory, full))?;
    }
    file.sync_all()
        .map_err(at_file("syncing a file in", directory, full))?;
    file.seek(SeekFrom::Start(0))
        .map_err(at_file("rewinding a file in", directory, full))?;
    // The pages of the writing are large folios on some kernels, and carry buffers. Drop them:
    // the mapping's faults then read each page on its own.
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

/// A new file without a name. File systems without O_TMPFILE get a name for an instant.
fn unlinked_file(directory: &Path) -> Result<File> {
    let remedy = "name a directory you may write to by --dir";
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
        for memory in [Memory::Anon, Memory::Memfd] {
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
            let error = Region::new(Memory::File, 1, Path::new("/dev/shm")).unwrap_err();
            assert!(error.is_not_applicable(), "{error}");
        }
    }

    #[test]
    fn no_page_of_a_new_file_is_cached() {
        if let Ok(region) = Region::new(Memory::File, 32, &default_directory()) {
            assert_eq!(region.mapping().in_memory().unwrap(), vec![false; 32]);
        }
    }
}
