//! Memory pressure on processes with pinned memory, for guests under test.
//!
//! Not for a host in production: the modes `kswapd` and `direct` put the whole machine under
//! pressure, and the others change cgroups (of their own).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::balloon::{self, Balloon, Pace};
use super::cgroup::{Cgroup, CgroupName};
use super::child::{ChildReport, Holding, Launcher, Order, Role, Worker};
use super::error::{Error, Result};
use super::evidence::{Change, Snapshot};
use super::mapping::page_size;
use super::memory::{Memory, default_directory};
use super::reference::Reference;

/// Who is made to reclaim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Writes to the cgroups' memory.reclaim (Linux 5.19): `proactive`.
    MemoryReclaim,
    /// The cgroups' memory.high below their usage, while they touch their memory: `memcg`.
    MemoryHigh,
    /// A balloon that allocates slowly, so that kswapd keeps up: `kswapd`. Which pages it takes
    /// is its own choice: 20 seconds and a few tens of MiB give it the occasion.
    Kswapd,
    /// Balloons that allocate fast, so that allocations reclaim on their own: `direct`, and
    /// `kswapd` beside it.
    Direct,
}

/// How to press.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who reclaims.
    pub mode: Mode,
    /// How many processes hold memory, each in a cgroup of its own.
    pub processes: usize,
    /// Pages of memfd that each pins by io_uring; as many again, unpinned, lie beside them.
    pub pages: usize,
    /// For how long.
    pub duration: Duration,
    /// Whether each makes a KVM virtual machine where it can.
    pub subscriber: bool,
    /// How to start children.
    pub launcher: Launcher,
    /// Where files are made.
    pub directory: PathBuf,
}

impl Options {
    /// Two processes, 1024 pages each, ten seconds.
    #[must_use]
    pub fn new(mode: Mode, launcher: Launcher) -> Self {
        Self {
            mode,
            processes: 2,
            pages: 1024,
            duration: Duration::from_secs(10),
            subscriber: true,
            launcher,
            directory: default_directory(),
        }
    }
}

/// What is known for certain of one process that was pressed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pressed {
    /// Its cgroup.
    pub cgroup: CgroupName,
    /// What it knows itself. The first holding is pinned, the second is not.
    pub process: ChildReport,
    /// Unmaps of pinned pages in vain: at least so many.
    pub futile_at_least: u64,
}

/// What is known for certain of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `pinscope.pressure/1`.
    pub schema: String,
    /// Who was made to reclaim.
    pub mode: Mode,
    /// The size of a page, in bytes.
    pub page_size: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How often reclaim was asked for (memory.reclaim only).
    pub reclaims: u64,
    /// Each process.
    pub processes: Vec<Pressed>,
    /// Process ids of the balloons, whose allocations reclaim.
    pub balloons: Vec<u32>,
    /// Unmaps of pinned pages in vain, over all processes: at least so many.
    pub futile_at_least: u64,
    /// The machine's counters over the run; `pgscan_kswapd` and `pgscan_direct` tell whether
    /// the pressure was felt.
    pub change: Change,
}

/// Starts the processes, presses, and tells what is known. Everything is gone afterwards.
pub fn press(options: &Options) -> Result<Report> {
    let start = Instant::now();
    let mut members = start_members(options)?;
    let before = Snapshot::take();
    let mut reclaims = 0;
    let mut balloons = Vec::new();
    match options.mode {
        Mode::MemoryReclaim => {
            let end = start + options.duration;
            while Instant::now() < end {
                for Member { worker, cgroup } in &mut members.all {
                    // In lock step: the process waits while it is reclaimed, so what it counts
                    // afterwards is exactly what this reclaim left unmapped.
                    cgroup.reclaim(cgroup.usage()?)?;
                    reclaims += 1;
                    worker.obey(Order::Round)?;
                }
            }
        }
        Mode::MemoryHigh => {
            for Member { cgroup, .. } in &members.all {
                // Above the pinned half, below the whole: the rest can be reclaimed.
                let high = options.pages * page_size() * 3 / 2;
                cgroup.write("memory.high", &high.to_string())?;
            }
            touch_meanwhile(&mut members.all, options.duration, 20, || Ok(()))?;
            for Member { cgroup, .. } in &members.all {
                cgroup.write("memory.high", "max")?;
            }
        }
        Mode::Kswapd | Mode::Direct => {
            let pace = if options.mode == Mode::Direct {
                Pace::Fast
            } else {
                Pace::Slow
            };
            let mut inflated = balloon::inflate(&options.launcher, pace)?;
            balloons = inflated.iter().map(Balloon::pid).collect();
            // Seldom, or the pages look too busy to be taken.
            touch_meanwhile(&mut members.all, options.duration, 3000, || {
                inflated.iter_mut().try_for_each(Balloon::check)
            })?;
        }
    }
    let change = Snapshot::take().since(&before);
    let mut processes = Vec::new();
    for Member { worker, cgroup } in &mut members.all {
        let process = worker.obey(Order::Round)?;
        let futile_at_least = process
            .holdings
            .first()
            .map_or(0, |pinned| pinned.found.unmapped_in_memory);
        processes.push(Pressed {
            cgroup: cgroup.name(),
            process,
            futile_at_least,
        });
    }
    Ok(Report {
        schema: "pinscope.pressure/1".to_owned(),
        mode: options.mode,
        page_size: page_size() as u64,
        seconds: start.elapsed().as_secs_f64(),
        reclaims,
        futile_at_least: processes
            .iter()
            .map(|process| process.futile_at_least)
            .sum(),
        processes,
        balloons,
        change,
    })
}

/// A process in its cgroup. Fields are dropped in their order: the process goes before it.
struct Member {
    worker: Worker,
    cgroup: Cgroup,
}

/// All of them, and the cgroup above theirs, which goes last.
struct Members {
    all: Vec<Member>,
    _above: Cgroup,
}

fn start_members(options: &Options) -> Result<Members> {
    if options.processes == 0 || options.pages == 0 {
        return Err(Error::OutOfRange {
            what: "the number of processes or pages",
            got: 0,
            allowed: "1 and more",
        });
    }
    let above = format!("/pinscope-provoke-{}", std::process::id());
    let mut members = Members {
        all: Vec::new(),
        _above: Cgroup::create(&above)?,
    };
    for number in 0..options.processes {
        let cgroup = Cgroup::create(&format!("{above}/p{number}"))?;
        if cgroup.usage().is_err() {
            return Err(Error::lacking(
                "the memory controller can't be turned on for cgroups here",
                "mount cgroup v2 with the memory controller, and run as root",
            ));
        }
        let role = Role {
            comm: format!("pinned-{number}"),
            subscriber: options.subscriber,
            directory: options.directory.clone(),
            holdings: vec![
                Holding {
                    memory: Memory::Memfd,
                    pages: options.pages,
                    reference: Reference::IoUring,
                },
                Holding {
                    memory: Memory::Memfd,
                    pages: options.pages,
                    reference: Reference::None,
                },
            ],
        };
        let mut worker = Worker::start(&options.launcher, &role)?;
        cgroup.add(worker.pid())?;
        worker.obey(Order::Start)?;
        members.all.push(Member { worker, cgroup });
    }
    Ok(members)
}

/// Has all processes touch their memory over and over for so long, with pauses of so many
/// milliseconds; and longer, up to five times as long, until one of them has lost a mapping: on a
/// busy machine the pressure is long in coming.
fn touch_meanwhile(
    members: &mut [Member],
    duration: Duration,
    pause: u64,
    mut check: impl FnMut() -> Result<()>,
) -> Result<()> {
    let begun = Instant::now();
    let mut felt = false;
    while begun.elapsed() < duration || (!felt && begun.elapsed() < duration * 5) {
        let slice = Order::Loop { millis: 500, pause };
        for member in members.iter_mut() {
            member.worker.order(slice)?;
        }
        for member in members.iter_mut() {
            let report = member.worker.answer()?;
            felt |= report.holdings.iter().any(|held| held.found.unmapped > 0);
        }
        check()?;
    }
    Ok(())
}
