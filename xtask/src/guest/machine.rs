//! The description of one guest: what to run, and in what machine.

use std::ffi::OsString;
use std::time::Duration;

use crate::guest::files::GuestFile;
use crate::guest::kernels::Kernel;
use crate::host::tool::Tool;

/// A guest to boot, and the command to run in it.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// Files to put in, beside busybox and the modules.
    pub(crate) files: Vec<GuestFile>,
    /// The number of processors.
    pub(crate) cpus: u32,
    /// The number of NUMA nodes that memory and processors are split over.
    pub(crate) nodes: u32,
    /// The size of the memory.
    pub(crate) memory_mib: u32,
    /// More kernel arguments.
    pub(crate) append: Vec<String>,
    /// The time limit for boot and command together.
    pub(crate) timeout: Duration,
    /// The swap device.
    pub(crate) swap: Swap,
    /// Programs of this machine that the command needs.
    pub(crate) tools: Vec<Tool>,
    /// The accelerator that the caller asked for.
    pub(crate) accel: Option<AccelChoice>,
    /// The command and its arguments.
    pub(crate) command: Vec<OsString>,
}

impl Machine {
    /// The usual machine: two processors, 1 GiB of memory, a swap disk, ten minutes.
    pub(crate) fn new(kernel: Kernel, command: &[&str]) -> Self {
        Self {
            kernel,
            files: Vec::new(),
            cpus: 2,
            nodes: 1,
            memory_mib: 1024,
            append: Vec::new(),
            timeout: Duration::from_secs(600),
            swap: Swap::Disk,
            tools: Vec::new(),
            accel: None,
            command: command.iter().map(OsString::from).collect(),
        }
    }
}

/// An accelerator as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AccelChoice {
    /// Emulated: slow, works everywhere.
    Tcg,
    /// Emulated, with a clock that counts instructions: times hardly vary from run to run, whatever
    /// the host is doing and wherever the code lies.
    Icount,
    /// By the host's processors.
    Kvm,
    /// KVM where a stock kernel boots with it, emulated elsewhere.
    Auto,
}

/// How the guest's processors run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    /// Emulated.
    Tcg,
    /// Emulated, with a clock that counts instructions.
    Icount,
    /// By the host's processors.
    Kvm,
}

/// A guest's swap device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Swap {
    /// A virtio disk.
    Disk,
    /// Compressed memory.
    Zram,
    /// Nowhere.
    None,
}

impl Swap {
    /// The word that the guest's init reads.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Zram => "zram",
            Self::None => "none",
        }
    }
}
