//! What the kernel side has counted up to one moment, decoded.
//!
//! The one form in which data reaches the model: the live kernel makes it from the maps
//! ([`crate::kernel`]), a file gives it back as it was written. All counts are totals since
//! the probes were attached, so two snapshots subtract to what happened between them.

use std::collections::BTreeMap;

use probe_ebpf::{Memory, Reclaimer, Verdict};
use serde::{Deserialize, Serialize};

/// Facts of the machine that don't change during a capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// The host's name.
    pub hostname: String,
    /// CPUs online.
    pub cpus: u32,
}

/// A process that lost mappings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its pid (the kernel's tgid), in the initial pid namespace; 0: not known.
    pub pid: u32,
    /// The group leader's comm; empty: not known.
    pub comm: String,
    /// The path of its cgroup in the v2 hierarchy, `id:N` if the directory is gone or can't be
    /// read; `None`: not known.
    pub cgroup: Option<String>,
    /// The cgroup's id (the inode number of its directory); 0: not known.
    pub cgroup_id: u64,
}

/// What counters are kept by. `victim` is `None` where no hook tells whose mappings go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Who was reclaiming.
    pub reclaimer: Reclaimer,
    /// What kind of memory.
    pub memory: Memory,
    /// Folios of 2^order pages.
    pub order: u8,
    /// The first process whose mapping went.
    pub victim: Option<Process>,
}

/// Counters of one group and verdict; units as in [`probe_ebpf::maps::Counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Unmaps, which is folios.
    pub folios: u64,
    /// Their pages.
    pub pages: u64,
    /// Notifier calls nested in them.
    pub notifier_calls: u64,
    /// Time in the notifier, in ns.
    pub notifier_ns: u64,
    /// Time in `try_to_unmap`, in ns.
    pub unmap_ns: u64,
}

impl Counts {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Counts) {
        self.folios += other.folios;
        self.pages += other.pages;
        self.notifier_calls += other.notifier_calls;
        self.notifier_ns += other.notifier_ns;
        self.unmap_ns += other.unmap_ns;
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            folios: self.folios.saturating_sub(earlier.folios),
            pages: self.pages.saturating_sub(earlier.pages),
            notifier_calls: self.notifier_calls.saturating_sub(earlier.notifier_calls),
            notifier_ns: self.notifier_ns.saturating_sub(earlier.notifier_ns),
            unmap_ns: self.unmap_ns.saturating_sub(earlier.unmap_ns),
        }
    }
}

/// Counts by verdict, indexed by the verdict's number.
pub type ByVerdict = [Counts; Verdict::COUNT];

/// What one process lost in vain: every mapping, also of folios that count under another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Mappings (one folio in one VMA) removed by futile unmaps.
    pub mappings: u64,
    /// Their pages.
    pub pages: u64,
}

/// A subscriber of MMU notifiers and its part in reclaim's unmaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// The callback's symbol; an address where kallsyms can't be read;
    /// `interval notifiers` for those kept by range; `none found` for calls on an mm whose
    /// subscribers have left.
    pub symbol: String,
    /// Notifier calls that it took part in.
    pub calls: u64,
    /// Time in those calls, in ns: an upper bound where `shared_calls` isn't 0.
    pub ns: u64,
    /// Those of the calls in which other subscribers of the same mm took part too.
    pub shared_calls: u64,
}

/// A histogram over the buckets of [`probe_ebpf::hist`], summed over the CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// The sum of all values.
    pub sum: u64,
    /// The smallest value; `None`: no value yet.
    pub min: Option<u64>,
    /// The largest value; `None`: no value yet.
    pub max: Option<u64>,
    /// Count by bucket; trailing zeroes may be missing.
    pub buckets: Vec<u64>,
}

/// How a hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookState {
    /// Attached.
    Active,
    /// This kernel lacks what it needs.
    Unsupported,
    /// The user, or a setting of pinscope, turned it off.
    Disabled,
    /// It should work here, and did not.
    Failed,
}

impl HookState {
    /// The word of outputs.
    pub const fn name(self) -> &'static str {
        match self {
            HookState::Active => "active",
            HookState::Unsupported => "unsupported",
            HookState::Disabled => "disabled",
            HookState::Failed => "failed",
        }
    }
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attach {
    /// kprobe and kretprobe.
    #[serde(rename = "kprobe")]
    Kprobe,
    /// BTF trampoline: fentry and fexit.
    #[serde(rename = "fentry")]
    Fentry,
    /// Raw tracepoint.
    #[serde(rename = "raw_tracepoint")]
    RawTracepoint,
}

impl Attach {
    /// The word of outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Attach::Kprobe => "kprobe",
            Attach::Fentry => "fentry",
            Attach::RawTracepoint => "raw_tracepoint",
        }
    }
}

/// One row of `hooks`: what pinscope hooks, and how that stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookStatus {
    /// The hook's name in outputs ([`probe_ebpf::Hook::name`], or a hook that this version
    /// only plans, which is then `disabled` with a reason).
    pub name: String,
    /// The symbol or tracepoint on this kernel; the preferred one where none was found.
    pub symbol: String,
    /// How it is attached; `None` unless active.
    pub attach: Option<Attach>,
    /// How it stands.
    pub state: HookState,
    /// Why it isn't active, or how it is weaker than usual.
    pub reason: Option<String>,
    /// Calls seen that belong to reclaim; `None` unless active.
    pub hits: Option<u64>,
    /// Calls or returns known to have been missed; `None` where that can't be known.
    pub missed: Option<u64>,
}

/// What didn't fit, by map; see [`probe_ebpf::maps::Lost`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostCounts {
    /// Shrink calls without a slot.
    pub tasks: u64,
    /// Unmaps without a group.
    pub groups: u64,
    /// Mappings without a victim.
    pub victims: u64,
    /// Mappings beyond what one folio may have.
    pub mappings: u64,
    /// Futile unmaps whose folio isn't followed.
    pub folios: u64,
    /// Notifier calls whose subscriber isn't told.
    pub subscribers: u64,
    /// Events that found the ring buffer full.
    pub events: u64,
    /// Events over the budget.
    pub events_over_budget: u64,
    /// Kernel memory that couldn't be read.
    pub reads: u64,
}

impl LostCounts {
    /// Everything that a map had no room for: `lost.keys` of the capture.
    pub fn keys(&self) -> u64 {
        self.tasks + self.groups + self.victims + self.mappings + self.folios + self.subscribers
    }
}

/// What pinscope itself costs. `None`: not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfCost {
    /// Time in the BPF programs, from the kernel's own statistics.
    pub bpf_seconds: Option<f64>,
    /// Runs of the BPF programs.
    pub bpf_runs: Option<u64>,
    /// CPU time of this process, user and system.
    pub cpu_seconds: Option<f64>,
    /// Its peak resident set.
    pub rss_bytes: Option<u64>,
}

/// One condition that this machine meets or doesn't, as `doctor` reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The name of the condition.
    pub name: String,
    /// Whether the machine meets it.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do if the machine doesn't meet it.
    pub remedy: Option<String>,
}

/// Runs of one BPF program.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramRuns {
    /// Its name.
    pub name: String,
    /// Seconds in it.
    pub seconds: f64,
    /// How often it ran.
    pub runs: u64,
}

/// Everything counted up to one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Seconds since the probes were attached.
    pub elapsed: f64,
    /// The partition of all unmaps; each group once.
    pub groups: Vec<(Group, ByVerdict)>,
    /// Each mapping removed in vain; `None` where no hook tells whose it was.
    pub victims: Option<Vec<(Process, Lost)>>,
    /// `None` where the notifier isn't hooked.
    pub subscribers: Option<Vec<Subscriber>>,
    /// `try_to_unmap`, in ns, by verdict.
    pub unmap_ns: BTreeMap<Verdict, Histogram>,
    /// Notifier time of one unmap, in ns, by verdict; `None` where the notifier isn't hooked.
    pub notifier_ns: Option<BTreeMap<Verdict, Histogram>>,
    /// Excess references of futile unmaps.
    pub excess: Histogram,
    /// How often one folio was unmapped in vain.
    pub per_folio: Histogram,
    /// All hooks, those that aren't attached too.
    pub hooks: Vec<HookStatus>,
    /// What didn't fit.
    pub lost: LostCounts,
    /// Tasks inside reclaim at this moment, whose open unmaps aren't counted yet.
    pub in_flight: u64,
    /// What pinscope costs.
    pub cost: SelfCost,
}

/// One futile unmap, carried out singly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the probes were attached.
    pub elapsed: f64,
    /// `futile_pinned` or `futile_referenced`.
    pub verdict: String,
    /// The word for who was reclaiming.
    pub reclaimer: String,
    /// The tid of the task that was reclaiming.
    pub reclaimer_tid: u32,
    /// Its comm.
    pub reclaimer_comm: String,
    /// The word for the kind of memory.
    pub memory: String,
    /// The folio's order.
    pub order: u8,
    /// The first process whose mapping went; `None`: not known.
    pub victim: Option<Process>,
    /// The user address at which it was mapped last; `None`: not known.
    pub address: Option<u64>,
    /// Excess references.
    pub excess: i64,
    /// All references at the return.
    pub refcount: u32,
    /// Mappings removed.
    pub mappings: u32,
    /// How often this folio has been unmapped in vain so far; `None`: not known.
    pub times: Option<u32>,
    /// Notifier calls; `None` where the notifier isn't hooked.
    pub notifier_calls: Option<u32>,
    /// Time in them, in ns.
    pub notifier_ns: Option<u64>,
    /// Time in `try_to_unmap`, in ns.
    pub unmap_ns: u64,
}
