//! Reclaim through MADV_PAGEOUT, on one CPU.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::sys::mman::MmapAdvise;
use nix::unistd::Pid;

use super::error::{Error, Result};
use super::region::{Region, advice_failed};

/// Reclaims a region, and nothing else, through MADV_PAGEOUT.
///
/// The kernel isolates only pages on an LRU list. A page that was just faulted in is still in a
/// batch of the CPU that faulted it in, which holds one more reference on it. MADV_PAGEOUT drains
/// the batches of no CPU but its own: touch the region and call this under one [`CpuPin`].
pub fn pageout(region: &Region) -> Result<()> {
    region
        .mapping()
        .advise(&(0..region.pages()), MmapAdvise::MADV_PAGEOUT)
        .map_err(|errno| advice_failed("MADV_PAGEOUT", errno))
}

/// Keeps the calling thread on its current CPU until dropped.
#[derive(Debug)]
pub struct CpuPin {
    cpu: usize,
    before: CpuSet,
}

impl CpuPin {
    /// Pins the calling thread to its current CPU.
    pub fn here() -> Result<Self> {
        let cpu = sched_getcpu().map_err(|errno| failed("reading the current CPU", errno))?;
        Self::on(cpu, affinity()?)
    }

    /// Pins the calling thread to one of the CPUs that it may use: consecutive numbers go round
    /// all of them.
    pub(crate) fn by_turns(number: usize) -> Result<Self> {
        let before = affinity()?;
        let cpus: Vec<usize> = (0..CpuSet::count())
            .filter(|cpu| before.is_set(*cpu).unwrap_or(false))
            .collect();
        let cpu = cpus.get(number % cpus.len().max(1)).copied();
        Self::on(cpu.unwrap_or(0), before)
    }

    fn on(cpu: usize, before: CpuSet) -> Result<Self> {
        let mut only = CpuSet::new();
        only.set(cpu)
            .map_err(|errno| failed("selecting one CPU", errno))?;
        sched_setaffinity(Pid::from_raw(0), &only)
            .map_err(|errno| failed("staying on one CPU (sched_setaffinity)", errno))?;
        Ok(Self { cpu, before })
    }

    /// Returns the CPU's number.
    #[must_use]
    pub fn cpu(&self) -> usize {
        self.cpu
    }
}

fn affinity() -> Result<CpuSet> {
    sched_getaffinity(Pid::from_raw(0))
        .map_err(|errno| failed("reading the thread's CPU affinity", errno))
}

fn failed(action: &str, errno: Errno) -> Error {
    Error::system(
        action,
        errno,
        "run it outside a sandbox that forbids sched_setaffinity",
    )
}

impl Drop for CpuPin {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_ends_with_its_value() {
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let pin = CpuPin::here().unwrap();
        let during = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let cpus = (0..CpuSet::count()).filter(|&cpu| during.is_set(cpu).unwrap());
        assert_eq!(cpus.collect::<Vec<_>>(), [pin.cpu()]);
        drop(pin);
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
    }
}
