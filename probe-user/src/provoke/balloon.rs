//! Balloons: child processes that use up a machine's memory until the kernel reclaims, and not
//! so much that it kills.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::child::{Launcher, set_comm};
use super::error::{Error, Result, at_file};
use super::evidence::meminfo_kib;
use super::mapping::{Mapping, page_size};

/// How fast a balloon grows and touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So that kswapd keeps up.
    Slow,
    /// As fast as it goes, by two balloons.
    Fast,
}

/// A balloon. Gone when dropped.
#[derive(Debug)]
pub struct Balloon {
    child: Child,
}

impl Balloon {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it ended, for example because the kernel ran out of memory and killed it.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::Child {
                pid: self.pid(),
                what: format!("the balloon ended: {status}"),
            }),
            Err(error) => Err(Error::Child {
                pid: self.pid(),
                what: error.to_string(),
            }),
        }
    }
}

impl Drop for Balloon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The memory that balloons take, in bytes: what is available, and a part of the swap on top,
/// so that the rest of the machine has where to go.
fn size(meminfo: &str) -> Option<u64> {
    let available = meminfo_kib(meminfo, "MemAvailable")?;
    let swap = meminfo_kib(meminfo, "SwapFree")?;
    // Half of the swap stays free: a floor above which the OOM killer has nothing to do.
    (swap >= 64 << 10).then(|| (available + swap / 4) * 1024)
}

/// Starts balloons by a launcher whose program calls [`serve`] when its last argument begins
/// with `balloon:`.
pub fn inflate(launcher: &Launcher, pace: Pace) -> Result<Vec<Balloon>> {
    let path = "/proc/meminfo";
    let meminfo = std::fs::read_to_string(path).map_err(at_file("reading", path, "mount /proc"))?;
    let Some(bytes) = size(&meminfo) else {
        return Err(Error::lacking(
            "less than 64 MiB of swap are free, and without swap reclaim leaves memfd memory alone",
            "add swap (zram will do)",
        ));
    };
    let (count, pause) = match pace {
        Pace::Slow => (1, 4),
        Pace::Fast => (2, 0),
    };
    let each = bytes / count;
    (0..count)
        .map(|_| {
            let child = Command::new(&launcher.program)
                .args(&launcher.arguments)
                .arg(format!("balloon:{each}:{pause}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .map_err(at_file("starting", &launcher.program, "see the cause"))?;
            Ok(Balloon { child })
        })
        .collect()
}

/// The balloon's side: takes memory and touches it round and round, until it is killed or its
/// parent ends. Returns at once, with false, if the argument isn't a balloon's.
pub fn serve(argument: &str) -> Result<bool> {
    let Some((bytes, pause)) = parse(argument) else {
        return Ok(false);
    };
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    // The first to go, if it comes to that.
    let adjust = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj");
    let _ = adjust.and_then(|mut file| file.write_all(b"1000"));
    set_comm("balloon");
    let pages = usize::try_from(bytes / page_size() as u64).unwrap_or(usize::MAX);
    let map = Mapping::anonymous(pages)?;
    // Huge pages would make few, large steps of it.
    let _ = map.advise(&(0..pages), nix::sys::mman::MmapAdvise::MADV_NOHUGEPAGE);
    let chunk = (1 << 20) / page_size();
    loop {
        for page in 0..pages {
            map.write(page, (page % 251) as u8 + 1);
            if pause > 0 && page % chunk == 0 {
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
    }
}

fn parse(argument: &str) -> Option<(u64, u64)> {
    let (bytes, pause) = argument.strip_prefix("balloon:")?.split_once(':')?;
    Some((bytes.parse().ok()?, pause.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balloon_leaves_most_of_the_swap() {
        let meminfo = "MemAvailable: 600000 kB\nSwapFree: 400000 kB\n";
        assert_eq!(size(meminfo), Some(700_000 * 1024));
        assert_eq!(size("MemAvailable: 600000 kB\nSwapFree: 100 kB\n"), None);
    }

    #[test]
    fn arguments() {
        assert_eq!(parse("balloon:4096:3"), Some((4096, 3)));
        assert_eq!(parse("{\"comm\":\"x\"}"), None);
    }
}
