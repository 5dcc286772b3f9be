//! Everything that the metrics of one page are computed from.

use std::{
    cell::OnceCell,
    ops::Deref,
    time::{SystemTime, UNIX_EPOCH},
};

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
    /// The kernel's release.
    pub kernel: &'a str,
    /// Subscribers whose series are there from the first page on, at 0.
    pub subscribers: &'a [String],
    /// The costliest cgroups, with `--cgroups`.
    pub cgroups: Option<&'a Top>,
    /// The runs of the BPF programs, if the kernel counts them.
    pub programs: &'a [ProgramRuns],
    /// The exporter's own process.
    pub process: ProcessStats,
    /// Pins that the whole host holds, in pages; `None` where the kernel does not count them.
    pub pinned_pages: Option<u64>,
    /// How often, and how long, the kernel was read.
    pub reads: Reads,
    /// Futile unmaps that were recorded individually, for exemplars; the newest is last.
    pub events: &'a [Event],
    /// The time at which the probes were attached.
    pub attached: SystemTime,
    /// The number of series that the budget dropped from earlier pages.
    pub dropped: u64,
    /// The outcome of the last reload of the configuration, if there is one that is reloaded.
    pub reload: Option<Reload>,
}

impl<'a> Input<'a> {
    /// The page of a snapshot and nothing else.
    pub fn of(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            kernel: "",
            subscribers: &[],
            cgroups: None,
            programs: &[],
            process: ProcessStats::default(),
            pinned_pages: None,
            reads: Reads::default(),
            events: &[],
            attached: UNIX_EPOCH,
            dropped: 0,
            reload: None,
        }
    }

    /// Returns what the attached hooks measure.
    pub fn measured(&self) -> Measured {
        Measured::new(&self.snapshot.hooks)
    }

    /// Returns the time `elapsed` seconds after the attach, in seconds since 1970.
    pub fn time_at(&self, elapsed: f64) -> f64 {
        let attached = self.attached.duration_since(UNIX_EPOCH);
        attached.map_or(0.0, |since| since.as_secs_f64()) + elapsed
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

    /// Returns the groups of all roads, derived once.
    pub(crate) fn rows(&self) -> &[GroupRow] {
        self.rows
            .get_or_init(|| derive::rows(self.measured(), None, self.snapshot))
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

/// Reads of the kernel, those for this page included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reads {
    /// The number of reads.
    pub count: u64,
    /// The time that they took, in seconds.
    pub seconds: f64,
}
