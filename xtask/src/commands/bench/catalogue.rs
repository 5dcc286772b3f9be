//! The benchmarks.

use crate::host::tool::Tool;

/// The comparison that a benchmark makes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ratio {
    /// One variant's time, divided by another's.
    Plain { of: &'static str, to: &'static str },
    /// The time that one variant adds to a base, divided by the time that another adds.
    Added {
        base: &'static str,
        of: &'static str,
        to: &'static str,
    },
}

/// A benchmark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bench {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) kernel: &'static str,
    pub(super) cpus: u32,
    /// Whether the emulator's clock counts instructions.
    pub(super) counted: bool,
    /// The script for the guest's shell. `BENCH` is the benchmark's name; `pinscope`, `workload` and
    /// the tools are on PATH.
    pub(super) script: &'static str,
    pub(super) tools: &'static [Tool],
    pub(super) ratios: &'static [Ratio],
}

const fn added(of: &'static str) -> Ratio {
    Ratio::Added {
        base: "none",
        of,
        to: "script",
    }
}

const COST: Bench = Bench {
    name: "",
    about: "",
    kernel: "6.12",
    cpus: 2,
    counted: false,
    script: include_str!("cost.sh"),
    tools: &[Tool::Bpftrace],
    ratios: &[
        added("pinscope"),
        added("pinscope-kprobe"),
        added("empty-fentry"),
        added("empty-kprobe"),
    ],
};

/// The benchmark that needs no guest, in `probe-user/benches/`.
pub(super) const NATIVE: &str = "renderers";
/// Its description.
pub(super) const NATIVE_ABOUT: &str =
    "a frame of the dashboard, a sample, a scrape: with few and with many groups";

/// The benchmarks that run in a guest.
pub(super) const BENCHES: &[Bench] = &[
    Bench {
        name: "cost",
        about: "what pinscope adds to futile unmaps, in guest instructions of 2 ns, compared with a bpftrace script",
        counted: true,
        ..COST
    },
    Bench {
        name: "cost-time",
        about: "the same in emulated time, which depends on where the code lies: it varies from boot to boot",
        ..COST
    },
    Bench {
        name: "start",
        about: "the time to attach, memory, idle CPU, and a burst with events",
        kernel: "6.12",
        cpus: 2,
        counted: false,
        script: include_str!("start.sh"),
        tools: &[Tool::Tmux],
        ratios: &[Ratio::Plain {
            of: "attach-kprobe",
            to: "attach-auto",
        }],
    },
    Bench {
        name: "noise",
        about: "the same work under two names: smaller differences than this ratio's from 1 are noise",
        kernel: "6.12",
        cpus: 2,
        counted: false,
        script: include_str!("noise.sh"),
        tools: &[],
        ratios: &[Ratio::Plain { of: "a", to: "b" }],
    },
];
