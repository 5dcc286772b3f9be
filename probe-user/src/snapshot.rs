//! What the kernel side has counted up to one moment, decoded.
//!
//! Data reaches the model in this form only: [`crate::kernel`] makes it from the maps, and
//! [`crate::recording`] reads it back from a file. All counts are totals since the probes were
//! attached, so the difference of two snapshots is what happened between them.

use std::collections::BTreeMap;

use probe_ebpf::{Hook, Memory, Reclaimer, Road, Verdict, hooks::Planned};
use serde::{Deserialize, Serialize};

use crate::words::Word;

/// Facts about the machine that do not change during a capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The host's name.
    pub hostname: String,
    /// The number of CPUs online.
    pub cpus: u32,
}

/// A process that lost mappings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its pid (the kernel's tgid), in the initial pid namespace; 0: not known.
    pub pid: u32,
    /// The group leader's comm; empty: not known.
    pub comm: String,
    /// The path of its cgroup in the v2 hierarchy, `id:N` if the directory is gone or cannot be
    /// read; `None`: not known.
    pub cgroup: Option<String>,
    /// The cgroup's id (the inode number of its directory); 0: not known.
    pub cgroup_id: u64,
}

/// The comm of [`Process::others`].
pub const OTHERS: &str = "(others)";

impl Process {
    /// Stands for all processes, or cgroups, that have no key of their own: the kernel's map was
    /// full, or they are gone and their keys were given back.
    pub fn others() -> Self {
        Self {
            pid: 0,
            comm: OTHERS.to_owned(),
            cgroup: None,
            cgroup_id: 0,
        }
    }

    /// Whether this is [`Process::others`].
    pub fn is_others(&self) -> bool {
        self.pid == 0 && self.comm == OTHERS
    }
}

/// The key of counters. `victim` is `None` where no hook shows whose mappings go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Why the unmaps were tried.
    pub road: Word<Road>,
    /// Who was reclaiming.
    pub reclaimer: Word<Reclaimer>,
    /// The kind of memory.
    pub memory: Word<Memory>,
    /// Folios of 2^order pages.
    pub order: u8,
    /// The first process whose mapping was removed.
    pub victim: Option<Process>,
}

/// Counters of one group and verdict; units as in [`probe_ebpf::maps::Counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Unmapped folios.
    pub folios: u64,
    /// Pages of these folios.
    pub pages: u64,
    /// Notifier calls nested in them.
    pub notifier_calls: u64,
    /// Time in the notifier, in ns.
    pub notifier_ns: u64,
    /// Time in `try_to_unmap`, in ns.
    pub unmap_ns: u64,
}

impl Counts {
    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Counts) {
        self.folios += other.folios;
        self.pages += other.pages;
        self.notifier_calls += other.notifier_calls;
        self.notifier_ns += other.notifier_ns;
        self.unmap_ns += other.unmap_ns;
    }

    /// The increase since `earlier`.
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

/// Counts by the word of a verdict that this version does not know: a recording of a newer version
/// has them, a running kernel never.
pub type NewerVerdicts = BTreeMap<String, Counts>;

/// What one process lost to futile unmaps: every mapping, including those of folios that count
/// under another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Mappings (one folio in one VMA) removed by futile unmaps.
    pub mappings: u64,
    /// Pages of these mappings.
    pub pages: u64,
}

/// A subscriber of MMU notifiers and its part in reclaim's unmaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// The callback's symbol; `unnamed callback N` where kallsyms cannot be read;
    /// `interval notifiers` for subscribers kept by range; `none found` for calls on an mm whose
    /// subscribers have left.
    pub symbol: String,
    /// Notifier calls that it took part in.
    pub calls: u64,
    /// Time in those calls, in ns: an upper bound where `shared_calls` is not 0.
    pub ns: u64,
    /// Calls in which other subscribers of the same mm took part too.
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
    /// Counts by bucket; trailing zeroes may be missing.
    pub buckets: Vec<u64>,
}

/// The state of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookState {
    /// Attached.
    Active,
    /// This kernel lacks something that the hook needs.
    Unsupported,
    /// The user, or a setting of pinscope, turned it off.
    Disabled,
    /// It should work here, but failed.
    Failed,
}

impl HookState {
    /// The word that outputs use.
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
    /// The word that outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            Attach::Kprobe => "kprobe",
            Attach::Fentry => "fentry",
            Attach::RawTracepoint => "raw_tracepoint",
        }
    }
}

/// One row of `hooks`: a hook and its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookStatus {
    /// The hook's name in outputs: [`probe_ebpf::Hook::name`], or that of a newer version's hook.
    pub name: String,
    /// The symbol or tracepoint on this kernel; the newest name where none was found.
    pub symbol: String,
    /// How it is attached; `None` unless active.
    pub attach: Option<Attach>,
    /// Its state.
    pub state: HookState,
    /// Why it is not active, or how it is weaker than usual.
    pub reason: Option<String>,
    /// Calls seen that belong to reclaim; `None` unless active.
    pub hits: Option<u64>,
    /// Calls or returns known to have been missed; `None` where the kernel does not count them.
    pub missed: Option<u64>,
}

impl HookStatus {
    /// Returns how many hooks are active, and how many are expected to be: all but those that
    /// stock kernels lack, and those that pinscope leaves out by default because kprobes are used.
    pub fn active_of_all<'a>(hooks: impl IntoIterator<Item = &'a HookStatus>) -> (usize, usize) {
        let mut count = (0, 0);
        for hook in hooks {
            let active = hook.state == HookState::Active;
            count.0 += usize::from(active);
            count.1 += usize::from(active || !hook.is_left_out());
        }
        count
    }

    /// Whether nobody expects the hook to be active here: stock kernels lack it, or pinscope leaves
    /// it out by default because kprobes are used.
    pub fn is_left_out(&self) -> bool {
        let Some(hook) = Hook::named(&self.name) else {
            return false;
        };
        let entry = hook.entry();
        match self.state {
            HookState::Unsupported => entry.usually_absent.is_some(),
            HookState::Disabled => {
                entry.off_by_kprobe.is_some() && self.reason.as_deref() == entry.off_by_kprobe
            }
            HookState::Active | HookState::Failed => false,
        }
    }

    /// Whether this is no hook, but one that the version that wrote the row had only planned:
    /// earlier versions listed those among the hooks. They are dropped when such a file is read.
    pub fn is_only_planned(&self) -> bool {
        Planned::named(&self.name).is_some()
            && self.state == HookState::Disabled
            && self.hits.is_none()
            && self
                .reason
                .as_deref()
                .is_none_or(|reason| reason.starts_with("this version "))
    }
}

/// Losses by map; see [`probe_ebpf::maps::Lost`].
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
    /// Futile unmaps whose folio is not followed.
    pub folios: u64,
    /// Notifier calls without a subscriber.
    pub subscribers: u64,
    /// Events that found the ring buffer full.
    pub events: u64,
    /// Events over the budget.
    pub events_over_budget: u64,
    /// Failed reads of kernel memory.
    pub reads: u64,
}

impl LostCounts {
    /// All losses to full maps: `lost.keys` of the capture.
    pub fn keys(&self) -> u64 {
        self.tasks + self.groups + self.victims + self.mappings + self.folios + self.subscribers
    }
}

/// How full a map of the kernel side is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUse {
    /// The map's word, as in [`LostCounts`]: `tasks`, `groups`, `victims` or `subscribers`.
    pub map: &'static str,
    /// Keys in it.
    pub entries: u64,
    /// The keys that it has room for.
    pub max: u64,
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
    /// The program's name.
    pub name: String,
    /// Seconds spent in it.
    pub seconds: f64,
    /// The number of runs.
    pub runs: u64,
}

/// Everything counted up to one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Seconds since the probes were attached.
    pub elapsed: f64,
    /// The partition of all unmaps; each group once. A group whose victim is gone may disappear:
    /// its counts are then in the group of [`Process::others`] with the same road, reclaimer,
    /// memory and order.
    pub groups: Vec<(Group, ByVerdict)>,
    /// Counts of the same groups under verdicts of a newer version.
    pub newer: Vec<(Group, NewerVerdicts)>,
    /// Mappings removed by futile unmaps; `None` where no hook shows whose they were.
    pub victims: Option<Vec<(Process, Lost)>>,
    /// MMU notifier subscribers; `None` where the notifier is not hooked.
    pub subscribers: Option<Vec<Subscriber>>,
    /// Time in `try_to_unmap`, in ns, by verdict.
    pub unmap_ns: BTreeMap<Verdict, Histogram>,
    /// The same by reclaimer and verdict, in octaves: only the middle bucket of each power of two
    /// is used. Rows without a count are left out; empty in recordings of versions that did not
    /// measure it.
    pub unmap_ns_by_reclaimer: BTreeMap<(Reclaimer, Verdict), Histogram>,
    /// Notifier time of one unmap, in ns, by verdict; `None` where the notifier is not hooked.
    pub notifier_ns: Option<BTreeMap<Verdict, Histogram>>,
    /// Excess references of futile unmaps.
    pub excess: Histogram,
    /// Futile unmaps per folio.
    pub per_folio: Histogram,
    /// All hooks, including those that are not attached.
    pub hooks: Vec<HookStatus>,
    /// Losses.
    pub lost: LostCounts,
    /// How full the maps are; empty in a recording, which does not store it.
    pub maps: Vec<MapUse>,
    /// Tasks inside reclaim at this moment, whose open unmaps are not counted yet.
    pub in_flight: u64,
    /// What pinscope costs.
    pub cost: SelfCost,
}

/// One futile unmap, recorded individually.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the probes were attached.
    pub elapsed: f64,
    /// `futile_pinned` or `futile_referenced`.
    pub verdict: Word<Verdict>,
    /// Who was reclaiming.
    pub reclaimer: Word<Reclaimer>,
    /// The tid of the task that was reclaiming.
    pub reclaimer_tid: u32,
    /// The comm of that task.
    pub reclaimer_comm: String,
    /// The kind of memory.
    pub memory: Word<Memory>,
    /// The folio's order.
    pub order: u8,
    /// The first process whose mapping was removed; `None`: not known.
    pub victim: Option<Process>,
    /// The user address at which it was mapped last; `None`: not known.
    pub address: Option<u64>,
    /// Excess references.
    pub excess: i64,
    /// All references at the return.
    pub refcount: u32,
    /// Mappings removed.
    pub mappings: u32,
    /// The futile unmaps of this folio so far; `None`: not known.
    pub times: Option<u32>,
    /// Notifier calls; `None` where the notifier is not hooked.
    pub notifier_calls: Option<u32>,
    /// Time in these calls, in ns.
    pub notifier_ns: Option<u64>,
    /// Time in `try_to_unmap`, in ns.
    pub unmap_ns: u64,
}
