//! References on pages, which keep reclaim from freeing what it unmapped.

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
use super::region::Region;
use super::subset::Subset;

/// The number of buffers that every kernel accepts in one registration (UIO_MAXIOV).
const BUFFERS_PER_RING: usize = 1024;
/// The pages of one buffer: far below the kernel's limit of 1 GiB.
const PAGES_PER_BUFFER: usize = 4096;
/// The size of a pipe: the default of fs.pipe-max-size. Each page of it is one slot.
const PIPE_BYTES: usize = 1 << 20;

/// How references are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// None are taken.
    None,
    /// Buffers registered with io_uring: FOLL_PIN | FOLL_LONGTERM.
    IoUring,
    /// Pages spliced into pipes: FOLL_GET.
    Vmsplice,
}

/// References held on pages of a region, given back on drop.
#[derive(Debug)]
pub struct References {
    held: Held,
    pages: usize,
    /// Keeps the addresses that were given to a ring valid for as long as the ring lives.
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
    /// Takes references on a subset of a region's pages, which must have been touched before.
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

    /// Returns the number of pages on which a reference is held, one on each.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Returns the number of rings or pipes that hold the references.
    #[must_use]
    pub fn holders(&self) -> usize {
        match &self.held {
            Held::Nothing => 0,
            Held::Rings(rings) => rings.len(),
            Held::Pipes(pipes) => pipes.len(),
        }
    }
}

/// Registers runs of pages as buffers, with as many rings as that takes.
fn register(map: &Mapping, runs: &[Range<usize>]) -> Result<Vec<IoUring>> {
    let buffers = cut(runs, PAGES_PER_BUFFER);
    let pages: usize = runs.iter().map(ExactSizeIterator::len).sum();
    raise_memlock(pages * map.page_size());
    let mut rings = Vec::new();
    for chunk in buffers.chunks(BUFFERS_PER_RING) {
        let ring = IoUring::new(1).map_err(|error| ring_refused(&error))?;
        let iovecs: Vec<_> = chunk.iter().map(|run| map.iovec(run)).collect();
        // SAFETY: the buffers lie within the mapping, which `References` keeps alive for as long
        // as the ring; no request is ever submitted, so the kernel neither reads nor writes the
        // buffers through the ring.
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
            "set the sysctl kernel.io_uring_disabled=0, and run outside a container's seccomp filter",
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

/// Raises the soft limit of locked memory, and the hard one where that is allowed. If that isn't
/// enough, registering the buffers fails; with CAP_IPC_LOCK no limit applies.
fn raise_memlock(bytes: usize) {
    // On older kernels the rings themselves count too.
    let wanted = bytes as u64 + (1 << 20);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
        && soft < wanted
        && setrlimit(Resource::RLIMIT_MEMLOCK, wanted, hard.max(wanted)).is_err()
    {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
}

/// Splices runs of pages into as many pipes as that takes.
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
                format!("splicing {wanted} pages into a pipe moved only {spliced} bytes"),
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

/// Groups runs in order so that no group has more than `most` pages.
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
    use super::super::region::{Backing, default_directory};
    use super::*;

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
        let region = Region::new(Backing::Anon, 600, &default_directory()).unwrap();
        region.touch(1);
        let held = References::take(&region, Reference::Vmsplice, Subset::All).unwrap();
        assert_eq!((held.pages(), held.holders()), (600, 3));
        let held = References::take(&region, Reference::Vmsplice, Subset::EverySecond).unwrap();
        assert_eq!((held.pages(), held.holders()), (300, 2));
    }
}
