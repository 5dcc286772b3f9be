//! Everything that the metrics of one page are computed from.

use std::time::SystemTime;

use crate::{
    model::{Measured, ranking::Top},
    snapshot::{Event, ProgramRuns, Snapshot},
};

/// The input of every collector.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The counts of the kernel side.
    pub snapshot: &'a Snapshot,
    /// The costliest cgroups, with `--cgroups`.
    pub cgroups: Option<&'a Top>,
    /// The runs of the BPF programs, if the kernel counts them.
    pub programs: &'a [ProgramRuns],
    /// The exporter's own process.
    pub process: ProcessStats,
    /// Futile unmaps that were recorded individually, for exemplars; the newest is last.
    pub events: &'a [Event],
    /// The time at which the probes were attached.
    pub attached: SystemTime,
    /// The number of series that the budget dropped from earlier pages.
    pub dropped: u64,
}

impl Input<'_> {
    /// Returns what the attached hooks measure.
    pub fn measured(&self) -> Measured {
        Measured::new(&self.snapshot.hooks)
    }
}

/// The exporter's own process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStats {
    /// User and system time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// The number of open file descriptors.
    pub open_fds: Option<u64>,
    /// The start time, in seconds since 1970.
    pub start: Option<f64>,
}
