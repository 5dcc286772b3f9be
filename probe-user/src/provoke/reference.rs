//! References on pages: what keeps reclaim from freeing what it unmapped.

use std::io::{PipeReader, PipeWriter};
use std::ops::Range;
use std::rc::Rc;

use io_uring::IoUring;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::mapping::Mapping;
use super::memory::Region;

/// The kernel takes so many buffers in one registration since its first version (UIO_MAXIOV).
const BUFFERS_PER_RING: usize = 1024;
/// A buffer of a ring is at most 1 GiB; stay far below it.
const PAGES_PER_BUFFER: usize = 4096;
/// A pipe of 1 MiB (the default of fs.pipe-max-size) has so many slots on a machine with
/// pages of 4 KiB.
const PIPE_BYTES: usize = 1 << 20;

/// How references are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Not at all.
    None,
    /// Buffers registered with io_uring: FOLL_PIN | FOLL_LONGTERM.
    IoUring,
    /// Pages spliced into pipes: FOLL_GET.
    Vmsplice,
}

/// Which pages of a region are referenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// None.
    None,
    /// Every page.
    All,
    /// Pages 0, 2, 4, …
    EverySecond,
    /// Pages 1, 3, 5, …
    EveryOther,
}

impl Subset {
    /// The pages that this subset leaves out.
    #[must_use]
    pub fn complement(self) -> Self {
        match self {
            Self::None => Self::All,
            Self::All => Self::None,
            Self::EverySecond => Self::EveryOther,
            Self::EveryOther => Self::EverySecond,
        }
    }

    /// How many of `pages` pages are in it.
    #[must_use]
    pub fn count(self, pages: usize) -> usize {
        match self {
            Self::None => 0,
            Self::All => pages,
            Self::EverySecond => pages.div_ceil(2),
            Self::EveryOther => pages / 2,
        }
    }

    /// Its pages out of `pages`, as runs of neighbours.
    #[must_use]
    pub fn runs(self, pages: usize) -> Vec<Range<usize>> {
        let single = |first: usize| {
            (first..pages)
                .step_by(2)
                .map(|page| page..page + 1)
                .collect()
        };
        match self {
            Self::None => Vec::new(),
            Self::All if pages == 0 => Vec::new(),
            Self::All => std::iter::once(0..pages).collect(),
            Self::EverySecond => single(0),
            Self::EveryOther => single(1),
        }
    }
}

/// References held on pages of a region, given back when dropped.
#[derive(Debug)]
pub struct References {
    held: Held,
    pages: usize,
    /// The addresses given to a ring must stay valid as long as it lives.
    _map: Rc<Mapping>,
}

enum Held {
    Nothing,
    Rings(Vec<IoUring>),
    Pipes(Vec<(PipeReader, PipeWriter)>),
}

impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("nothing"),
            Self::Rings(rings) => write!(formatter, "{} rings", rings.len()),
            Self::Pipes(pipes) => write!(formatter, "{} pipes", pipes.len()),
        }
    }
}

impl References {
    /// Takes references on a subset of a region's pages, which must have been touched.
    pub fn take(region: &Region, reference: Reference, subset: Subset) -> Result<Self> {
        let runs = subset.runs(region.pages());
        let map = Rc::clone(region.mapping());
        let (held, pages) = match reference {
            Reference::None => (Held::Nothing, 0),
            Reference::IoUring => (
                Held::Rings(register(&map, &runs)?),
                subset.count(region.pages()),
            ),
            Reference::Vmsplice => (
                Held::Pipes(splice(&map, &runs)?),
                subset.count(region.pages()),
            ),
        };
        Ok(Self {
            held,
            pages,
            _map: map,
        })
    }

    /// On how many pages references are held: one on each.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// How many rings or pipes hold them.
    #[must_use]
    pub fn holders(&self) -> usize {
        match &self.held {
            Held::Nothing => 0,
            Held::Rings(rings) => rings.len(),
            Held::Pipes(pipes) => pipes.len(),
        }
    }
}

/// Registers runs of pages as buffers of as many rings as they need.
fn register(map: &Mapping, runs: &[Range<usize>]) -> Result<Vec<IoUring>> {
    let buffers = cut(runs, PAGES_PER_BUFFER);
    let pages: usize = runs.iter().map(ExactSizeIterator::len).sum();
    raise_memlock(pages * map.page_size());
    let mut rings = Vec::new();
    for chunk in buffers.chunks(BUFFERS_PER_RING) {
        let ring = IoUring::new(1).map_err(|error| ring_refused(&error))?;
        let iovecs: Vec<_> = chunk.iter().map(|run| map.iovec(run)).collect();
        // SAFETY: the buffers lie within the mapping, which `References` keeps alive as long
        // as the ring; no request is ever submitted, so the kernel neither reads nor writes
        // them through it.
        #[allow(unsafe_code)]
        let registered = unsafe { ring.submitter().register_buffers(&iovecs) };
        registered.map_err(|error| ring_refused(&error))?;
        rings.push(ring);
    }
    Ok(rings)
}

fn ring_refused(error: &std::io::Error) -> Error {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    match errno {
        Errno::ENOSYS | Errno::EPERM | Errno::EACCES => Error::lacking(
            format!("io_uring is not allowed here ({errno})"),
            "set the sysctl kernel.io_uring_disabled=0, and leave the container's seccomp filter",
        ),
        Errno::ENOMEM => Error::lacking(
            "the limit of locked memory is too small for the buffers",
            "raise it (ulimit -l unlimited), run as root, or ask for fewer pages",
        ),
        _ => Error::system(
            "registering buffers with io_uring",
            errno,
            "ask for fewer pages",
        ),
    }
}

/// Raises the soft limit of locked memory, and the hard one where that is allowed. What is
/// not enough shows when the buffers are registered: with CAP_IPC_LOCK no limit counts.
fn raise_memlock(bytes: usize) {
    // The rings themselves count, too, on older kernels.
    let wanted = bytes as u64 + (1 << 20);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
        && soft < wanted
        && setrlimit(Resource::RLIMIT_MEMLOCK, wanted, hard.max(wanted)).is_err()
    {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
}

/// Splices runs of pages into as many pipes as they need.
fn splice(map: &Mapping, runs: &[Range<usize>]) -> Result<Vec<(PipeReader, PipeWriter)>> {
    let slots = PIPE_BYTES / map.page_size();
    let mut pipes = Vec::new();
    for group in group(&cut(runs, slots), slots) {
        let (reader, writer) = std::io::pipe().map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            Error::system(
                "making a pipe",
                errno,
                "raise the limit of open files (ulimit -n)",
            )
        })?;
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES as i32)).map_err(|errno| {
            Error::system(
                "making a pipe of 1 MiB",
                errno,
                "run as root, ask for fewer pages, or raise fs.pipe-max-size and fs.pipe-user-pages-soft",
            )
        })?;
        let wanted: usize = group.iter().map(ExactSizeIterator::len).sum();
        let spliced = map.vmsplice(&writer, &group).map_err(|errno| {
            Error::system("splicing pages into a pipe", errno, "ask for fewer pages")
        })?;
        if spliced != wanted * map.page_size() {
            return Err(Error::system(
                format!("splicing {wanted} pages into a pipe took {spliced} bytes"),
                Errno::EAGAIN,
                "please report it",
            ));
        }
        pipes.push((reader, writer));
    }
    Ok(pipes)
}

/// Cuts runs so that none is longer than `longest` pages.
fn cut(runs: &[Range<usize>], longest: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    for run in runs {
        let mut first = run.start;
        while first < run.end {
            let end = run.end.min(first + longest);
            pieces.push(first..end);
            first = end;
        }
    }
    pieces
}

/// Groups runs, in their order, so that no group has more than `most` pages.
fn group(runs: &[Range<usize>], most: usize) -> Vec<Vec<Range<usize>>> {
    let mut groups: Vec<Vec<Range<usize>>> = Vec::new();
    let mut filled = most;
    for run in runs {
        if filled + run.len() > most {
            groups.push(Vec::new());
            filled = 0;
        }
        filled += run.len();
        if let Some(last) = groups.last_mut() {
            last.push(run.clone());
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Memory, default_directory};
    use super::*;

    #[test]
    fn a_subset_and_its_complement_are_everything_once() {
        for pages in [0, 1, 2, 7, 256] {
            for subset in [
                Subset::None,
                Subset::All,
                Subset::EverySecond,
                Subset::EveryOther,
            ] {
                let mut all: Vec<usize> = subset.runs(pages).into_iter().flatten().collect();
                assert_eq!(all.len(), subset.count(pages), "{subset:?} of {pages}");
                all.extend(subset.complement().runs(pages).into_iter().flatten());
                all.sort_unstable();
                assert_eq!(all, (0..pages).collect::<Vec<_>>(), "{subset:?} of {pages}");
            }
        }
    }

    #[test]
    fn cutting_and_grouping_lose_nothing() {
        let pieces = cut(&[0..10, 12..13, 20..25], 4);
        assert_eq!(pieces, [0..4, 4..8, 8..10, 12..13, 20..24, 24..25]);
        let groups = group(&pieces, 4);
        assert!(
            groups
                .iter()
                .all(|group| group.iter().map(|run| run.len()).sum::<usize>() <= 4)
        );
        assert_eq!(groups.concat(), pieces);
    }

    #[test]
    fn pipes_hold_at_most_what_fits() {
        let region = Region::new(Memory::Anon, 600, &default_directory()).unwrap();
        region.touch(1);
        let held = References::take(&region, Reference::Vmsplice, Subset::All).unwrap();
        assert_eq!((held.pages(), held.holders()), (600, 3));
        let held = References::take(&region, Reference::Vmsplice, Subset::EverySecond).unwrap();
        assert_eq!((held.pages(), held.holders()), (300, 2));
    }
}
