//! Futile unmaps as fast as possible, for benchmarks.

use serde::{Deserialize, Serialize};

use super::counters::SystemCounters;
use super::error::Result;
use super::reclaim::{CpuPin, pageout};
use super::reference::{Reference, References};
use super::region::{Backing, Region};
use super::scenario::ScenarioOptions;
use super::subscriber::KvmSubscriber;
use super::subset::Subset;

/// What a burst did, and what it cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Burst {
    /// Futile unmaps: pages × rounds.
    pub folios: u64,
    /// CPU time of the process in user mode, in seconds.
    pub user_seconds: f64,
    /// CPU time of the process in the kernel, in seconds.
    pub system_seconds: f64,
    /// Elapsed time, in seconds.
    pub wall_seconds: f64,
    /// Minor faults: one per page touched again.
    pub minor_faults: u64,
    /// Whether KVM subscribed to the process's MMU notifiers.
    pub subscriber: bool,
    /// The process id.
    pub pid: u32,
}

/// Touches and reclaims a memfd pinned by io_uring, `options.rounds` times; the times cover
/// nothing else. Every unmap of every page is futile.
pub fn burst(options: &ScenarioOptions) -> Result<Burst> {
    let subscriber = options
        .subscriber
        .then(KvmSubscriber::open)
        .and_then(std::result::Result::ok);
    let _cpu = CpuPin::here()?;
    let region = Region::new(Backing::Memfd, options.pages, &options.directory)?;
    region.touch(1);
    let _references = References::take(&region, Reference::IoUring, Subset::All)?;
    let start = std::time::Instant::now();
    let before = SystemCounters::take();
    for _ in 0..options.rounds {
        region.touch(2);
        pageout(&region)?;
    }
    let change = SystemCounters::take().since(&before);
    Ok(Burst {
        folios: options.pages as u64 * u64::from(options.rounds),
        user_seconds: change.user_seconds,
        system_seconds: change.system_seconds,
        wall_seconds: start.elapsed().as_secs_f64(),
        minor_faults: change.minor_faults,
        subscriber: subscriber.is_some(),
        pid: std::process::id(),
    })
}
