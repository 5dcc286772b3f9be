//! Churn: many short-lived processes in many short-lived cgroups, each of which has memory
//! reclaimed and ends, as on a host whose containers come and go.
//!
//! Speed decides whether a hundred thousand of them fit into an emulated minute or an hour. So the
//! processes are copies of this one, the memory of the futile unmaps is made and referenced
//! once per job (each process maps it anew), and a job moves from cgroup to cgroup instead of each
//! of its processes.

use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::MmapAdvise;
use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroup, CgroupName};
use super::comm::set_comm;
use super::error::{Error, Result, at_file};
use super::fork::{Fork, alone};
use super::mapping::{Mapping, page_size};
use super::page_table::PageTable;
use super::reclaim::{CpuPin, pageout};
use super::reference::{Reference, References};
use super::region::{Backing, Region, default_directory};
use super::subset::Subset;

/// The most long-lived processes: their counters have to fit into a page beside the others.
pub const MOST_STEADY: u32 = 64;
/// Once in this number of processes, one looks into its page table to confirm what it counts.
const INSPECT_EVERY: u64 = 64;
/// The pause of a long-lived process between two reclaims of its memory.
const STEADY_PAUSE: Duration = Duration::from_millis(50);

/// What to do. Every number may be 0, except where the field says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct ChurnPlan {
    /// The short-lived processes.
    pub processes: u64,
    /// The cgroups that they are spread over, one after the other; 0: they stay in the caller's.
    pub cgroups: u64,
    /// The pages of each process that are referenced (vmsplice): each of their unmaps is futile.
    /// At least 1.
    pub pages: usize,
    /// The pages of each process that are freed: anonymous memory after MADV_FREE.
    pub freed: usize,
    /// How many times each process touches its memory and has it reclaimed.
    pub rounds: u32,
    /// The processes that start the short-lived ones, at the same time. At least 1.
    pub jobs: u32,
    /// Long-lived processes, each in a cgroup of its own, that have `steady_pages` referenced pages
    /// reclaimed again and again until the last short-lived process has ended.
    pub steady: u32,
    /// The pages of each long-lived process.
    pub steady_pages: usize,
    /// Whether every short-lived process inspects its page table and counts the pages that it finds
    /// unmapped. Where memory is short, compaction may have isolated a page that this process
    /// wants to have reclaimed. Otherwise every page counts, and some processes confirm it.
    pub inspect_all: bool,
}

/// What a long-lived process did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steady {
    /// Its cgroup, which exists until the [`ChurnRun`] is dropped.
    pub cgroup: CgroupName,
    /// Its futile unmaps.
    pub futile: u64,
}

/// What is known for certain about a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChurnReport {
    /// `pinscope.churn/1`.
    pub schema: String,
    /// The short-lived processes that ran.
    pub processes: u64,
    /// The short-lived cgroups that existed.
    pub cgroups: u64,
    /// Futile unmaps, of all processes.
    pub futile_expected: u64,
    /// Unmaps of memory that was freed.
    pub freed_expected: u64,
    /// All unmaps.
    pub unmaps_expected: u64,
    /// The pages of these unmaps: one each.
    pub pages_expected: u64,
    /// The processes that inspected their page tables.
    pub inspected: u64,
    /// The duration, in seconds.
    pub seconds: f64,
    /// The long-lived processes.
    pub steady: Vec<Steady>,
}

/// The result of a run. Dropping it removes the cgroups of the long-lived processes.
#[derive(Debug)]
pub struct ChurnRun {
    /// What the run did.
    pub report: ChurnReport,
    _steady: Vec<Cgroup>,
    _home: Option<Cgroup>,
}

/// Words of the memory that all processes of a run share.
#[derive(Clone, Copy)]
enum Word {
    Processes,
    Cgroups,
    Futile,
    Freed,
    Inspected,
    Stop,
    Failed,
    FirstSteady,
}

/// Counters that all processes of a run share.
struct Counters(Mapping);

impl Counters {
    fn new() -> Result<Self> {
        let fd = memfd_create(c"pinscope-churn", MFdFlags::MFD_CLOEXEC).map_err(|errno| {
            Error::system("making a memfd", errno, "raise the limit of open files")
        })?;
        let file = std::fs::File::from(fd);
        file.set_len(page_size() as u64).map_err(at_file(
            "making room in",
            "a memfd",
            "see the cause",
        ))?;
        Ok(Self(Mapping::shared(&file, 1)?))
    }

    fn add(&self, word: Word, n: u64) {
        self.0.add(word as usize, n);
    }

    fn get(&self, word: Word) -> u64 {
        self.0.add(word as usize, 0)
    }

    fn steady(&self, number: u32, n: u64) -> u64 {
        self.0.add(Word::FirstSteady as usize + number as usize, n)
    }
}

/// Runs the plan in processes of its own.
pub fn churn(plan: &ChurnPlan) -> Result<ChurnRun> {
    check(plan)?;
    alone()?;
    set_comm("churn");
    let counters = Counters::new()?;
    let grouped = plan.cgroups > 0 || plan.steady > 0;
    let home = grouped
        .then(|| Cgroup::create(&format!("/pinscope-churn-{}", std::process::id())))
        .transpose()?;
    let mut steady = Vec::new();
    let mut workers = Vec::new();
    if let Some(home) = &home {
        for number in 0..plan.steady {
            let cgroup = home.child(&format!("steady-{number}"))?;
            workers.push(Fork::start(|| {
                cgroup.add(std::process::id())?;
                reclaim_steadily(plan, &counters, number)
            })?);
            steady.push(cgroup);
        }
    }
    // They are the costliest cgroups from the first moment.
    while (0..plan.steady).any(|n| counters.steady(n, 0) == 0) && counters.get(Word::Failed) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    let jobs = (0..plan.jobs)
        .map(|job| Fork::start(|| work(plan, &counters, home.as_ref(), job)))
        .collect::<Result<Vec<_>>>();
    let done = jobs.and_then(|jobs| jobs.into_iter().try_for_each(Fork::wait));
    let seconds = begun.elapsed().as_secs_f64();
    counters.add(Word::Stop, 1);
    let steadily = workers.into_iter().try_for_each(Fork::wait);
    done.and(steadily)?;
    Ok(ChurnRun {
        report: report(&counters, &steady, seconds),
        _steady: steady,
        _home: home,
    })
}

fn check(plan: &ChurnPlan) -> Result<()> {
    for (what, got, most) in [
        ("the number of pages", plan.pages as u64, 1 << 20),
        ("the number of rounds", u64::from(plan.rounds), 1 << 20),
        ("the number of jobs", u64::from(plan.jobs), 1000),
    ] {
        if got == 0 || got > most {
            return Err(Error::OutOfRange {
                what,
                got,
                allowed: "1 to some thousands",
            });
        }
    }
    if plan.steady > MOST_STEADY {
        return Err(Error::OutOfRange {
            what: "the number of long-lived processes",
            got: u64::from(plan.steady),
            allowed: "0 to 64",
        });
    }
    Ok(())
}

fn report(counters: &Counters, steady: &[Cgroup], seconds: f64) -> ChurnReport {
    let steady: Vec<Steady> = (0..)
        .zip(steady)
        .map(|(number, cgroup)| Steady {
            cgroup: cgroup.name(),
            futile: counters.steady(number, 0),
        })
        .collect();
    let futile = counters.get(Word::Futile) + steady.iter().map(|s| s.futile).sum::<u64>();
    let freed = counters.get(Word::Freed);
    ChurnReport {
        schema: "pinscope.churn/1".to_owned(),
        processes: counters.get(Word::Processes),
        cgroups: counters.get(Word::Cgroups),
        futile_expected: futile,
        freed_expected: freed,
        unmaps_expected: futile + freed,
        pages_expected: futile + freed,
        inspected: counters.get(Word::Inspected),
        seconds,
        steady,
    }
}

/// Memory on which references are held, and which is mapped nowhere until somebody touches it.
struct Held {
    region: Region,
    _references: References,
}

impl Held {
    fn new(pages: usize) -> Result<Self> {
        let region = Region::new(Backing::Memfd, pages, &default_directory())?;
        region.touch(1);
        let references = References::take(&region, Reference::Vmsplice, Subset::All)?;
        // Discards the mappings alone: a page that two processes map is not reclaimed.
        region
            .mapping()
            .advise(&(0..pages), MmapAdvise::MADV_DONTNEED)
            .map_err(|errno| super::region::advice_failed("MADV_DONTNEED", errno))?;
        Ok(Self {
            region,
            _references: references,
        })
    }

    /// Touches the memory and has it reclaimed: one futile unmap per page.
    fn reclaim(&self, stamp: u64) -> Result<u64> {
        self.region.touch((stamp % 250) as u8 + 1);
        pageout(&self.region)?;
        Ok(self.region.pages() as u64)
    }
}

/// Runs a long-lived process.
fn reclaim_steadily(plan: &ChurnPlan, counters: &Counters, number: u32) -> Result<()> {
    set_comm(&format!("steady-{number}"));
    end_with_parent();
    let done = (|| {
        let _cpu = CpuPin::by_turns(number as usize)?;
        let held = Held::new(plan.steady_pages.max(1))?;
        for stamp in 0.. {
            counters.steady(number, held.reclaim(stamp)?);
            if counters.get(Word::Stop) > 0 {
                break;
            }
            std::thread::sleep(STEADY_PAUSE);
        }
        Ok(())
    })();
    if done.is_err() {
        counters.add(Word::Failed, 1);
    }
    done
}

fn end_with_parent() {
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
}

/// Runs a job: its share of the cgroups, each with its share of the processes.
fn work(plan: &ChurnPlan, counters: &Counters, home: Option<&Cgroup>, job: u32) -> Result<()> {
    end_with_parent();
    if let Some(home) = home {
        // First: entering another cpuset may take back the choice of a CPU (Linux 5.10 does).
        home.add(std::process::id())?;
    }
    let _cpu = CpuPin::by_turns(job as usize)?;
    let held = Held::new(plan.pages)?;
    let process = || {
        Fork::start(|| {
            let number = counters.0.add(Word::Processes as usize, 1);
            let inspects = plan.inspect_all || number % INSPECT_EVERY == 1;
            let table = inspects.then(PageTable::open).transpose()?;
            short_life(plan, counters, &held, table.as_ref())
        })?
        .wait()
    };
    let jobs = u64::from(plan.jobs);
    let job = u64::from(job);
    let Some(home) = home.filter(|_| plan.cgroups > 0) else {
        return (0..share(plan.processes, jobs, job)).try_for_each(|_| process());
    };
    let mut last = None;
    for number in (job..plan.cgroups).step_by(plan.jobs as usize) {
        let cgroup = home.child(&format!("c{number}"))?;
        counters.add(Word::Cgroups, 1);
        cgroup.add(std::process::id())?;
        // Removes the one before, which this process has just left.
        last = Some(cgroup);
        (0..share(plan.processes, plan.cgroups, number)).try_for_each(|_| process())?;
    }
    home.add(std::process::id())?;
    drop(last);
    Ok(())
}

/// Returns the share of `all` that the part with this number has, of this number of parts.
fn share(all: u64, parts: u64, number: u64) -> u64 {
    all / parts + u64::from(number < all % parts)
}

/// Runs a short-lived process. With a page table, it inspects what it counts.
fn short_life(
    plan: &ChurnPlan,
    counters: &Counters,
    held: &Held,
    table: Option<&PageTable>,
) -> Result<()> {
    let freed = (plan.freed > 0)
        .then(|| Region::new(Backing::Lazyfree, plan.freed, &default_directory()))
        .transpose()?;
    let unmapped = |region: &Region| match table {
        Some(table) => unmapped(table, region, plan.inspect_all),
        None => Ok(region.pages() as u64),
    };
    for round in 0..plan.rounds {
        held.reclaim(u64::from(round))?;
        counters.add(Word::Futile, unmapped(&held.region)?);
        let Some(freed) = &freed else { continue };
        freed.touch(1);
        freed.give_back()?;
        pageout(freed)?;
        counters.add(Word::Freed, unmapped(freed)?);
    }
    counters.add(Word::Inspected, u64::from(table.is_some()));
    Ok(())
}

/// Returns the number of a region's pages that are not mapped; fails if that is not every page,
/// unless some may be.
fn unmapped(table: &PageTable, region: &Region, some_may_be_mapped: bool) -> Result<u64> {
    let [all, _] = table.inspect(region, |_| true)?;
    if all.unmapped == all.seen || some_may_be_mapped {
        return Ok(all.unmapped);
    }
    Err(Error::Child {
        pid: std::process::id(),
        what: format!(
            "{} of {} pages ({}) are mapped after their reclaim",
            all.seen - all.unmapped,
            all.seen,
            region.memory().word()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (all, parts) in [(10, 3), (2, 5), (0, 4), (100_000, 20_000)] {
            let shares: Vec<u64> = (0..parts).map(|n| share(all, parts, n)).collect();
            assert_eq!(shares.iter().sum::<u64>(), all);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_process_with_threads_is_not_copied() {
        let plan = ChurnPlan {
            processes: 1,
            cgroups: 0,
            pages: 1,
            freed: 0,
            rounds: 1,
            jobs: 1,
            steady: 0,
            steady_pages: 0,
            inspect_all: false,
        };
        // The test harness has threads of its own.
        let error = churn(&plan).unwrap_err();
        assert!(error.is_not_applicable(), "{error}");
        assert!(check(&ChurnPlan { pages: 0, ..plan }).is_err());
    }
}
