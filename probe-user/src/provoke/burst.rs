//! Unmapping in vain as fast as it goes, for benchmarks.

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::evidence::Snapshot;
use super::memory::{Memory, Region};
use super::reclaim::{CpuPin, pageout};
use super::reference::{Reference, References, Subset};
use super::scenario::Options;
use super::subscriber::Subscriber;

/// What a burst did, and what it cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Burst {
    /// Folios unmapped in vain: pages × rounds.
    pub folios: u64,
    /// CPU time of the process in user mode, in seconds.
    pub user_seconds: f64,
    /// CPU time of the process in the kernel, in seconds.
    pub system_seconds: f64,
    /// Time passed, in seconds.
    pub wall_seconds: f64,
    /// Minor faults: one for each page touched again.
    pub minor_faults: u64,
    /// Whether KVM listened to the process's MMU notifiers.
    pub subscriber: bool,
    /// The process.
    pub pid: u32,
}

/// Touches and reclaims a memfd that io_uring pins, `options.rounds` times, and nothing else
/// within the time taken. Every page is unmapped in vain on every round.
pub fn burst(options: &Options) -> Result<Burst> {
    let subscriber = options
        .subscriber
        .then(Subscriber::open)
        .and_then(std::result::Result::ok);
    let _cpu = CpuPin::here()?;
    let region = Region::new(Memory::Memfd, options.pages, &options.directory)?;
    region.touch(1);
    let _references = References::take(&region, Reference::IoUring, Subset::All)?;
    let start = std::time::Instant::now();
    let before = Snapshot::take();
    for _ in 0..options.rounds {
        region.touch(2);
        pageout(&region)?;
    }
    let change = Snapshot::take().since(&before);
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
