//! Memory pressure on processes with pinned memory, for guests under test.
//!
//! Not for a host in production: the modes `kswapd` and `direct` put the whole machine under
//! pressure; the other modes only change cgroups of their own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::balloon::{self, Balloon, Pace};
use super::cgroup::{Cgroup, CgroupName};
use super::child::{ChildReport, Holding, Launcher, Order, Role};
use super::counters::{CounterChange, SystemCounters};
use super::error::{Error, Result};
use super::mapping::page_size;
use super::member::Member;
use super::reference::Reference;
use super::region::{Backing, default_directory};

/// The reclaimer to provoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PressureMode {
    /// `proactive`: writes to the cgroups' memory.reclaim (Linux 5.19).
    MemoryReclaim,
    /// `memcg`: sets the cgroups' memory.high below their usage while they touch their memory.
    MemoryHigh,
    /// `kswapd`: a balloon allocates slowly enough for kswapd to keep up. kswapd chooses which
    /// pages it takes; 20 seconds and a few tens of MiB give it the opportunity.
    Kswapd,
    /// `direct`, and `kswapd` as well: balloons allocate so fast that allocations have to reclaim.
    Direct,
}

/// How to apply pressure.
#[derive(Clone, Debug)]
pub struct PressurePlan {
    /// The reclaimer to provoke.
    pub mode: PressureMode,
    /// The number of processes that hold memory, each in a cgroup of its own.
    pub processes: usize,
    /// The number of memfd pages that each process pins through io_uring. Each process has as
    /// many unpinned pages as well.
    pub pages: usize,
    /// The duration.
    pub duration: Duration,
    /// Whether each process makes a KVM virtual machine where it can.
    pub subscriber: bool,
    /// How to start children.
    pub launcher: Launcher,
    /// The directory in which files are made.
    pub directory: PathBuf,
}

impl PressurePlan {
    /// Plans two processes with 1024 pages each, for ten seconds.
    #[must_use]
    pub fn new(mode: PressureMode, launcher: Launcher) -> Self {
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

/// What is known for certain about one process under pressure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pressed {
    /// The cgroup of the process.
    pub cgroup: CgroupName,
    /// What the process knows itself. The first holding is pinned, the second is not.
    pub process: ChildReport,
    /// The least number of futile unmaps of its pinned pages.
    pub futile_at_least: u64,
}

/// What is known for certain about a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PressureReport {
    /// `pinscope.pressure/1`.
    pub schema: String,
    /// The provoked reclaimer.
    pub mode: PressureMode,
    /// The size of a page, in bytes.
    pub page_size: u64,
    /// The duration, in seconds.
    pub seconds: f64,
    /// How many times reclaim was requested (memory.reclaim only).
    pub reclaims: u64,
    /// The processes.
    pub processes: Vec<Pressed>,
    /// The process ids of the balloons, whose allocations reclaim.
    pub balloons: Vec<u32>,
    /// The least number of futile unmaps of pinned pages, over all processes.
    pub futile_at_least: u64,
    /// The change of the machine's counters over the run; `pgscan_kswapd` and `pgscan_direct` show
    /// whether the pressure had an effect.
    pub change: CounterChange,
}

/// Starts the processes, applies the pressure, and reports what is known for certain. Nothing is
/// left behind.
pub fn press(plan: &PressurePlan) -> Result<PressureReport> {
    let start = Instant::now();
    let mut members = start_members(plan)?;
    let before = SystemCounters::take();
    let mut reclaims = 0;
    let mut balloons = Vec::new();
    match plan.mode {
        PressureMode::MemoryReclaim => {
            let end = start + plan.duration;
            while Instant::now() < end {
                for Member { worker, cgroup } in &mut members.all {
                    // In lock step: the process waits during the reclaim, so it then counts
                    // exactly what this reclaim left unmapped.
                    cgroup.reclaim(cgroup.usage()?)?;
                    reclaims += 1;
                    worker.obey(Order::Round)?;
                }
            }
        }
        PressureMode::MemoryHigh => {
            for Member { cgroup, .. } in &members.all {
                // Above the pinned half and below the whole, so that the rest can be reclaimed.
                let high = plan.pages * page_size() * 3 / 2;
                cgroup.write("memory.high", &high.to_string())?;
            }
            touch_meanwhile(&mut members.all, plan.duration, 20, || Ok(()))?;
            for Member { cgroup, .. } in &members.all {
                cgroup.write("memory.high", "max")?;
            }
        }
        PressureMode::Kswapd | PressureMode::Direct => {
            let pace = if plan.mode == PressureMode::Direct {
                Pace::Fast
            } else {
                Pace::Slow
            };
            let mut inflated = balloon::inflate(&plan.launcher, pace)?;
            balloons = inflated.iter().map(Balloon::pid).collect();
            // Rarely: kswapd leaves pages alone that are touched often.
            touch_meanwhile(&mut members.all, plan.duration, 3000, || {
                inflated.iter_mut().try_for_each(Balloon::check)
            })?;
        }
    }
    let change = SystemCounters::take().since(&before);
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
    Ok(PressureReport {
        schema: "pinscope.pressure/1".to_owned(),
        mode: plan.mode,
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

/// The processes, and the parent of their cgroups, which is removed last.
struct Members {
    all: Vec<Member>,
    _above: Cgroup,
}

fn start_members(plan: &PressurePlan) -> Result<Members> {
    if plan.processes == 0 || plan.pages == 0 {
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
    for number in 0..plan.processes {
        let holding = |reference| Holding {
            memory: Backing::Memfd,
            pages: plan.pages,
            reference,
        };
        let role = Role {
            comm: format!("pinned-{number}"),
            subscriber: plan.subscriber,
            directory: plan.directory.clone(),
            holdings: vec![holding(Reference::IoUring), holding(Reference::None)],
        };
        let cgroup = format!("{above}/p{number}");
        let (member, _) = Member::start(&plan.launcher, &role, &cgroup)?;
        members.all.push(member);
    }
    Ok(members)
}

/// Has all processes touch their memory over and over for `duration`, with pauses of `pause`
/// milliseconds. Goes on for up to five times as long until one of them has lost a mapping: on a
/// busy machine it takes a while for the pressure to build up.
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
