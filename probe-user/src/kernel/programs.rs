//! The attached programs: their hits, misses, runs and cost, and how they are detached.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use aya::{Ebpf, programs::Program};
use probe_ebpf::{
    Hook,
    hooks::{Stage, is_enter, is_exit},
    maps::HookHits,
};

use super::{
    attach::{Hooked, unload},
    maps::{Maps, MapsMut},
};
use crate::snapshot::{HookState, HookStatus, ProgramRuns, SelfCost};

/// How long a stop waits for tasks that are inside reclaim to leave it.
const DRAIN: Duration = Duration::from_millis(300);

/// The loaded object and its attached programs.
pub(super) struct Programs {
    ebpf: Ebpf,
    /// In the order of their numbers.
    hooks: Vec<Hooked>,
    /// Held for its effect: once it is closed, the kernel stops timing programs.
    stats: Option<OwnedFd>,
    final_misses: BTreeMap<&'static str, u64>,
    final_runs: Runs,
    stopped: bool,
}

/// Time in programs, and the number of runs.
type Runs = (Duration, u64);

impl Programs {
    /// Takes over attached hooks. `stats`: the handle that makes the kernel time programs.
    pub(super) fn new(ebpf: Ebpf, mut hooks: Vec<Hooked>, stats: Option<OwnedFd>) -> Self {
        hooks.sort_by_key(|h| h.hook);
        Self {
            ebpf,
            hooks,
            stats,
            final_misses: BTreeMap::new(),
            final_runs: (Duration::ZERO, 0),
            stopped: false,
        }
    }

    pub(super) fn maps(&self) -> Maps<'_> {
        Maps(&self.ebpf)
    }

    pub(super) fn maps_mut(&mut self) -> MapsMut<'_> {
        MapsMut(&mut self.ebpf)
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn active(&self, hook: Hook) -> bool {
        self.hooks.iter().any(|h| h.hook == hook && h.active())
    }

    pub(super) fn active_of_all(&self) -> (usize, usize) {
        HookStatus::active_of_all(self.hooks.iter().map(|h| &h.status))
    }

    /// Whether the kernel times the programs.
    pub(super) fn timed(&self) -> bool {
        self.stats.is_some()
    }

    /// Returns the runs of each program; nothing if the kernel doesn't time them.
    pub(super) fn runs(&self) -> Vec<ProgramRuns> {
        if self.stats.is_none() {
            return Vec::new();
        }
        let names = self.hooks.iter().flat_map(|h| h.programs.iter());
        names
            .filter_map(|name| {
                let info = self.ebpf.program(name)?.info().ok()?;
                Some(ProgramRuns {
                    name: (*name).to_owned(),
                    seconds: info.run_time().as_secs_f64(),
                    runs: info.run_count(),
                })
            })
            .collect()
    }

    /// Returns the status of each hook.
    pub(super) fn statuses(&self, hits: &[HookHits]) -> Vec<HookStatus> {
        let statuses = self.hooks.iter().map(|hooked| self.status(hooked, hits));
        statuses.collect()
    }

    fn status(&self, hooked: &Hooked, hits: &[HookHits]) -> HookStatus {
        let mut row = hooked.status.clone();
        if row.state == HookState::Active {
            let hits = hits[hooked.hook as usize];
            row.hits = Some(hits.entries);
            let skipped: u64 = hooked.programs.iter().map(|p| self.misses(p)).sum();
            // Every entry has its return only once no call is under way.
            let returns = if self.stopped && hooked.programs.iter().any(|p| is_exit(p)) {
                hits.entries.saturating_sub(hits.returns)
            } else {
                0
            };
            row.missed = Some(skipped + returns);
        }
        row
    }

    /// Returns the number of a program's runs that the kernel has skipped so far.
    fn misses(&self, name: &str) -> u64 {
        self.final_misses
            .get(name)
            .copied()
            .or_else(|| misses(self.ebpf.program(name)?))
            .unwrap_or(0)
    }

    pub(super) fn cost(&self) -> SelfCost {
        let mut runs = self.final_runs;
        if !self.stopped {
            for hooked in &self.hooks {
                for program in hooked.programs.iter().filter_map(|p| self.ebpf.program(p)) {
                    runs = add_runs(runs, program);
                }
            }
        }
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok();
        let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
        SelfCost {
            bpf_seconds: self.stats.as_ref().map(|_| runs.0.as_secs_f64()),
            bpf_runs: self.stats.as_ref().map(|_| runs.1),
            cpu_seconds: usage.map(|u| seconds(u.user_time()) + seconds(u.system_time())),
            rss_bytes: usage
                .and_then(|u| u64::try_from(u.max_rss()).ok())
                .map(|kib| kib * 1024),
        }
    }

    /// Detaches everything without losing counts: first the entries of the brackets, so that no
    /// new batch begins; the rest once the tasks inside reclaim have left it.
    pub(super) fn stop(&mut self) {
        let all: Vec<(Hook, &'static str)> = self
            .hooks
            .iter()
            .flat_map(|h| h.programs.iter().map(|p| (h.hook, *p)))
            .collect();
        for (hook, name) in &all {
            if hook.entry().stage == Stage::Bracket && is_enter(name) {
                self.retire(name);
            }
        }
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline && self.maps().claimed().is_ok_and(|c| !c.is_empty()) {
            thread::sleep(Duration::from_millis(5));
        }
        for (_, name) in all {
            self.retire(name);
        }
        self.stopped = true;
    }

    /// Detaches one program and keeps its counts.
    fn retire(&mut self, name: &'static str) {
        if let Some(program) = self.ebpf.program_mut(name)
            && program.fd().is_ok()
        {
            self.final_misses.insert(name, misses(program).unwrap_or(0));
            self.final_runs = add_runs(self.final_runs, program);
            unload(program);
        }
    }
}

/// Returns the number of runs that the kernel skipped because the program was already running
/// on that CPU; `None` on kernels that don't report it (before 5.12).
fn misses(program: &Program) -> Option<u64> {
    let fd = program.fd().ok()?;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    fs::read_to_string(path)
        .ok()?
        .lines()
        .find_map(|l| l.strip_prefix("recursion_misses:")?.trim().parse().ok())
}

fn add_runs(runs: Runs, program: &Program) -> Runs {
    match program.info() {
        Ok(info) => (runs.0 + info.run_time(), runs.1 + info.run_count()),
        Err(_) => runs,
    }
}
