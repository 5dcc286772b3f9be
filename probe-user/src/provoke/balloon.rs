//! Balloons: child processes that use up a machine's memory until the kernel reclaims, but stop
//! short of the OOM killer.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use procfs::{Current, Meminfo};

use super::child::Launcher;
use super::comm::set_comm;
use super::error::{Error, Result, at_file};
use super::mapping::{Mapping, page_size};

/// How fast a balloon grows and touches its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Slowly enough for kswapd to keep up.
    Slow,
    /// As fast as possible, with two balloons.
    Fast,
}

/// A balloon. Its process is killed on drop.
#[derive(Debug)]
pub struct Balloon {
    child: Child,
}

impl Balloon {
    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the process has ended, for example because the OOM killer ended it.
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

/// Returns the sizes in bytes of what balloons take at once (nearly all available memory) and of
/// what they take in all, at their pace (part of the swap on top); `None` with less than 64 MiB of
/// free swap.
fn size(available: u64, swap: u64) -> Option<(u64, u64)> {
    // Most of the swap stays free, so that the OOM killer has nothing to do.
    (swap >= 64 << 20).then_some((available / 20 * 19, available + swap / 4))
}

/// Starts balloons and waits until they have filled the available memory.
///
/// The launcher's program must call [`serve`] when its last argument begins with `balloon:`.
pub fn inflate(launcher: &Launcher, pace: Pace) -> Result<Vec<Balloon>> {
    let path = "/proc/meminfo";
    let meminfo = Meminfo::current()
        .map_err(|e| io::Error::other(e.to_string()))
        .map_err(at_file("reading", path, "mount /proc"))?;
    let available = meminfo.mem_available.unwrap_or(0);
    let Some((at_once, bytes)) = size(available, meminfo.swap_free) else {
        return Err(Error::lacking(
            "less than 64 MiB of swap is free, and without swap reclaim leaves memfd memory alone",
            "add swap (zram will do)",
        ));
    };
    let (count, pause) = match pace {
        Pace::Slow => (1, 4),
        Pace::Fast => (2, 0),
    };
    let mut balloons = Vec::new();
    let mut ready = Vec::new();
    for _ in 0..count {
        let mut child = Command::new(&launcher.program)
            .args(&launcher.arguments)
            .arg(format!(
                "balloon:{}:{}:{pause}",
                at_once / count,
                bytes / count
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(at_file("starting", &launcher.program, "see the cause"))?;
        ready.push(child.stdout.take());
        balloons.push(Balloon { child });
    }
    for (balloon, ready) in balloons.iter_mut().zip(ready) {
        let mut line = String::new();
        // If the process is killed, its output ends and the line stays empty.
        let _ = ready.map(|ready| BufReader::new(ready).read_line(&mut line));
        if line.is_empty() {
            balloon.check()?;
        }
    }
    Ok(balloons)
}

/// Runs the balloon's side: takes memory and touches it over and over until the process is killed
/// or its parent ends. Returns false at once if the argument isn't a balloon's.
pub fn serve(argument: &str) -> Result<bool> {
    let Some([at_once, bytes, pause]) = parse(argument) else {
        return Ok(false);
    };
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    // If the OOM killer has to choose, it should choose this process.
    let adjust = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj");
    let _ = adjust.and_then(|mut file| file.write_all(b"1000"));
    set_comm("balloon");
    let pages = usize::try_from(bytes / page_size() as u64).unwrap_or(usize::MAX);
    let map = Mapping::anonymous(pages)?;
    // With huge pages the balloon would grow in few, large steps.
    let _ = map.advise(&(0..pages), nix::sys::mman::MmapAdvise::MADV_NOHUGEPAGE);
    let at_once = usize::try_from(at_once / page_size() as u64).unwrap_or(usize::MAX);
    let chunk = (1 << 20) / page_size();
    let mut filled = false;
    loop {
        for page in 0..pages {
            map.write(page, (page % 251) as u8 + 1);
            if page + 1 == at_once.min(pages) && !filled {
                filled = true;
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "filled").and_then(|()| out.flush());
            }
            if pause > 0 && filled && page % chunk == 0 {
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
    }
}

/// Parses the bytes to fill at once, the bytes in all, and the pause after each MiB in
/// milliseconds.
fn parse(argument: &str) -> Option<[u64; 3]> {
    let mut numbers = argument
        .strip_prefix("balloon:")?
        .split(':')
        .map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balloon_leaves_most_of_the_swap() {
        let (available, swap) = (600_000 * 1024, 400_000 * 1024);
        assert_eq!(
            size(available, swap),
            Some((570_000 * 1024, 700_000 * 1024))
        );
        assert_eq!(size(available, 100 * 1024), None);
    }

    #[test]
    fn arguments() {
        assert_eq!(parse("balloon:4096:8192:3"), Some([4096, 8192, 3]));
        assert_eq!(parse("{\"comm\":\"x\"}"), None);
    }
}
