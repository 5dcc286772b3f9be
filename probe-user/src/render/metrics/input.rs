//! Everything that the metrics of one page are computed from.

use std::{cell::OnceCell, ops::Deref, time::SystemTime};

use crate::{
    model::{
        Measured,
        derive::{self, GroupRow},
        ranking::Top,
    },
    snapshot::{Event, ProgramRuns, Snapshot},
};

/// The data of one page.
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
    /// The outcome of the last reload of the configuration, if there is one that is reloaded.
    pub reload: Option<Reload>,
}

impl Input<'_> {
    /// Returns what the attached hooks measure.
    pub fn measured(&self) -> Measured {
        Measured::new(&self.snapshot.hooks)
    }
}

/// The input of every collector: the data of the page, and what several collectors derive from it.
#[derive(Debug)]
pub struct Page<'a> {
    input: &'a Input<'a>,
    rows: OnceCell<Vec<GroupRow>>,
}

impl<'a> Page<'a> {
    /// The page of `input`.
    pub const fn new(input: &'a Input<'a>) -> Self {
        Self {
            input,
            rows: OnceCell::new(),
        }
    }

    /// Returns the groups of reclaim, derived once.
    pub(crate) fn rows(&self) -> &[GroupRow] {
        self.rows
            .get_or_init(|| derive::reclaim_rows(self.measured(), None, self.snapshot))
    }
}

impl<'a> Deref for Page<'a> {
    type Target = Input<'a>;

    fn deref(&self) -> &Input<'a> {
        self.input
    }
}

/// The outcome of reading a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether the last attempt succeeded.
    pub successful: bool,
    /// The time of the last success.
    pub success: Option<SystemTime>,
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
