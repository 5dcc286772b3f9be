//! How the attached programs stand: hits, misses, runs and what they cost.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use aya::programs::Program;
use probe_ebpf::maps::HookHits;

use super::{attach::Hooked, probes::Probes};
use crate::snapshot::{HookState, HookStatus, ProgramRuns, SelfCost};

/// Hooks that the words of the contract name and this version leave alone.
const NOT_YET: [(&str, &str, &str); 2] = [
    (
        "migration",
        "try_to_migrate",
        "this version measures reclaim; migration and THP split are not hooked",
    ),
    (
        "refault",
        "handle_mm_fault",
        "this version does not follow refaults",
    ),
];

impl Probes {
    /// Whether the kernel times the programs.
    pub fn measures_itself(&self) -> bool {
        self.stats.is_some()
    }

    /// The runs of each program; nothing where the kernel doesn't time them.
    pub fn program_runs(&self) -> Vec<ProgramRuns> {
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

    /// Runs of a program that the kernel skipped, so far.
    pub(super) fn misses(&self, name: &str) -> u64 {
        self.final_misses
            .get(name)
            .copied()
            .or_else(|| misses(self.ebpf.program(name)?))
            .unwrap_or(0)
    }

    pub(super) fn statuses(&self, hits: &[HookHits]) -> Vec<HookStatus> {
        let mut rows = Vec::new();
        for Hooked {
            hook,
            status,
            programs,
        } in &self.hooks
        {
            let mut row = status.clone();
            if row.state == HookState::Active {
                let hits = hits[*hook as usize];
                row.hits = Some(hits.entries);
                let skipped: u64 = programs.iter().map(|p| self.misses(p)).sum();
                // Returns are all in only when nothing is under way.
                let returns = if self.stopped && has_return(programs) {
                    hits.entries.saturating_sub(hits.returns)
                } else {
                    0
                };
                row.missed = Some(skipped + returns);
            }
            rows.push(row);
        }
        for (name, symbol, reason) in NOT_YET {
            rows.push(HookStatus {
                name: name.into(),
                symbol: symbol.into(),
                attach: None,
                state: HookState::Disabled,
                reason: Some(reason.into()),
                hits: None,
                missed: None,
            });
        }
        rows
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
}

fn has_return(programs: &[&str]) -> bool {
    programs.iter().any(|p| p.ends_with("_exit"))
}

/// Runs that the kernel skipped because the program was already running on that CPU; `None`
/// where the kernel doesn't say (before 5.12).
pub(super) fn misses(program: &Program) -> Option<u64> {
    let fd = program.fd().ok()?;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    fs::read_to_string(path)
        .ok()?
        .lines()
        .find_map(|l| l.strip_prefix("recursion_misses:")?.trim().parse().ok())
}

pub(super) fn add_runs(runs: (Duration, u64), program: &Program) -> (Duration, u64) {
    match program.info() {
        Ok(info) => (runs.0 + info.run_time(), runs.1 + info.run_count()),
        Err(_) => runs,
    }
}
