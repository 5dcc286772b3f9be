//! The attached kernel side: snapshots of what it counts, and its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use aya::{
    Btf, Ebpf, Endianness,
    maps::{MapData, RingBuf},
    sys::{Stats, enable_stats},
};
use aya_log::EbpfLogger;
use probe_ebpf::{
    Hook, Memory, Reclaimer, Road, VictimsBy,
    maps::{INTERVAL_NOTIFIERS, NO_SUBSCRIBER, VictimKey},
};

use super::{
    attach::{
        AttachError, Attempt, Hooked, attach_all, cannot, chain, check_privileges, load, unload,
    },
    btf,
    cgroups::Cgroups,
    events,
    layout::{Facts, FactsError, VMLINUX_BTF, running_kernel},
    maps::{Counted, Histograms, Maps, NOBODY, ReadError, counts, text},
    plan::{AttachMode, HookOverride, plan},
    preempt, privileges,
    status::{add_runs, misses},
    symbols,
};
use crate::snapshot::{ByVerdict, Event, Group, Lost, Process, Snapshot, Subscriber};

/// How long a stop waits for tasks that are inside reclaim to leave it.
const DRAIN: Duration = Duration::from_millis(300);

/// What starts the counting of a batch: detached first.
const BRACKET_ENTRIES: [&str; 4] = [
    "f_shrink_enter",
    "k_shrink_enter",
    "f_reclaim_enter",
    "k_reclaim_enter",
];

/// What is asked of the kernel side.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How to attach to functions.
    pub attach: AttachMode,
    /// What the user wants of single hooks.
    pub hooks: Vec<HookOverride>,
    /// Single futile unmaps carried out, at most, for each CPU and second; 0: none.
    pub events_per_second: u32,
    /// Let the kernel take the time of each run of our programs: what pinscope costs, at a cost.
    pub measure_self: bool,
    /// Forward the probes' own log to this process's.
    pub probe_log: bool,
    /// What victims are kept by.
    pub victims_by: VictimsBy,
}

/// The attached kernel side. Dropping it detaches everything; so does the kernel, whatever
/// ends the process.
pub struct Probes {
    pub(super) ebpf: Ebpf,
    pub(super) hooks: Vec<Hooked>,
    cgroups: Cgroups,
    // Opened while that still shows addresses; see `symbols::names`.
    kallsyms: Option<File>,
    symbols: SymbolNames,
    histograms: Histograms,
    ring: Option<RingBuf<MapData>>,
    attached: Instant,
    attached_ns: u64,
    // Held for its effect: closed, the kernel stops measuring.
    pub(super) stats: Option<OwnedFd>,
    victims_by: VictimsBy,
    // The probes' own log, where it was asked for.
    logger: Option<Logger>,
    pub(super) final_misses: BTreeMap<&'static str, u64>,
    pub(super) final_runs: (Duration, u64),
    pub(super) stopped: bool,
}

type Logger = EbpfLogger<&'static dyn log::Log>;

#[derive(Default)]
struct SymbolNames(BTreeMap<u64, String>);

impl Probes {
    /// Loads and attaches all that this kernel allows.
    ///
    /// # Errors
    /// [`AttachError::CannotRun`] if not even `try_to_unmap` can be hooked.
    pub fn attach(options: &Options) -> Result<Probes, AttachError> {
        check_privileges()?;
        let mode = options.attach.resolve();
        let wanted: Vec<&str> = options
            .hooks
            .iter()
            .filter_map(HookOverride::symbol)
            .collect();
        let unknown = |e: FactsError| {
            cannot(
                format!("{e}: the layout of this kernel's structures is unknown"),
                "run a kernel with CONFIG_DEBUG_INFO_BTF=y",
            )
        };
        let raw = running_kernel().map_err(unknown)?;
        let mut facts = Facts::resolve(VMLINUX_BTF, &raw, &wanted).map_err(unknown)?;
        let plans = plan(&facts, mode, &options.hooks).map_err(|e| {
            cannot(
                format!(
                    "cannot list the kernel's symbols in {}: {e}",
                    symbols::KALLSYMS
                ),
                "run a kernel with CONFIG_KALLSYMS=y, with /proc mounted",
            )
        })?;
        drop(raw);
        let btf = match mode {
            AttachMode::Kprobe => None,
            AttachMode::Auto | AttachMode::Fentry => {
                Btf::parse(&btf::sparse(&facts.functions), Endianness::Little).ok()
            }
        };
        facts.kernel.events_per_second = options.events_per_second;
        facts.kernel.probe_log = u32::from(options.probe_log);
        facts.kernel.victims_by = options.victims_by as u32;
        let fentry = mode != AttachMode::Kprobe;
        facts.kernel.preemptible = u32::from(fentry && preempt::preempts() != Some(false));
        privileges::lift_memlock_limit();

        // What a hook finds unattached changes what the others do, and is a constant to them:
        // when an attach fails that should have worked, all are loaded anew without it.
        let mut failed: Vec<(Hook, String)> = Vec::new();
        loop {
            facts.kernel.hooks = plans
                .iter()
                .filter(|p| p.obstacle.is_none())
                .map(|p| p.definition.hook)
                .filter(|h| !failed.iter().any(|(f, _)| f == h))
                .fold(0, |bits, hook| bits | 1 << hook as u32);
            let mut ebpf = load(&facts)?;
            // Before the programs are loaded: it takes over the map they write to.
            let logger = if options.probe_log {
                start_log(&mut ebpf)
            } else {
                None
            };
            match attach_all(&mut ebpf, &plans, &failed, mode, btf.as_ref())? {
                Attempt::Failed(hook, why) => failed.push((hook, why)),
                Attempt::Attached(hooks) => {
                    drop(btf);
                    return Self::finish(ebpf, hooks, logger, options);
                }
            }
        }
    }

    fn finish(
        mut ebpf: Ebpf,
        mut hooks: Vec<Hooked>,
        logger: Option<Logger>,
        options: &Options,
    ) -> Result<Probes, AttachError> {
        if let Some(unmap) = hooks.iter().find(|h| h.hook == Hook::Unmap && !h.active()) {
            let reason = unmap.status.reason.clone().unwrap_or_default();
            return Err(cannot(
                format!("cannot hook try_to_unmap, without which nothing can be seen: {reason}"),
                if privileges::paranoid().is_some() {
                    "sysctl kernel.perf_event_paranoid=2, or CAP_SYS_ADMIN; see `pinscope doctor`"
                } else {
                    "run a kernel with CONFIG_KPROBES=y, or with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y and CONFIG_BPF_JIT=y; see `pinscope doctor`"
                },
            ));
        }
        hooks.sort_by_key(|h| h.hook);
        let ring = if options.events_per_second > 0 {
            let map = ebpf
                .take_map("EVENTS")
                .ok_or(ReadError::Missing("EVENTS"))?;
            Some(RingBuf::try_from(map).map_err(|source| ReadError::Map {
                map: "EVENTS",
                source,
            })?)
        } else {
            None
        };
        let stats = if options.measure_self {
            enable_stats(Stats::RunTime).ok()
        } else {
            None
        };
        let mut cgroups = Cgroups::new();
        cgroups.walk();
        Ok(Probes {
            ebpf,
            hooks,
            cgroups,
            kallsyms: File::open(symbols::KALLSYMS).ok(),
            symbols: SymbolNames::default(),
            histograms: Histograms::default(),
            ring,
            attached: Instant::now(),
            attached_ns: monotonic_ns(),
            stats,
            victims_by: options.victims_by,
            logger,
            final_misses: BTreeMap::new(),
            final_runs: (Duration::ZERO, 0),
            stopped: false,
        })
    }

    /// Whether a hook is attached.
    pub fn active(&self, hook: Hook) -> bool {
        self.hooks.iter().any(|h| h.hook == hook && h.active())
    }

    /// How many hooks are attached, of how many.
    pub fn active_of_all(&self) -> (usize, usize) {
        let active = self.hooks.iter().filter(|h| h.active()).count();
        (active, self.hooks.len())
    }

    /// Lets go of every capability that is no longer needed; see [`privileges::drop_all`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drop_privileges(&mut self) -> Result<bool, caps::errors::CapsError> {
        privileges::drop_all(|| Maps(&self.ebpf).lost().is_ok())
    }

    /// Whether a cgroup of this name is there no more.
    pub fn cgroup_is_gone(&self, name: &str) -> bool {
        self.cgroups.is_gone(name)
    }

    /// Everything counted so far.
    ///
    /// # Errors
    /// When a map can't be read.
    pub fn snapshot(&mut self) -> Result<Snapshot, ReadError> {
        self.name_subscribers();
        let maps = Maps(&self.ebpf);
        let mut counted = maps.counted(&mut self.histograms)?;
        let claimed = maps.claimed()?;
        let mut in_flight = 0;
        for slot in &claimed {
            let state = maps.task(*slot)?;
            in_flight += u64::from(state.in_shrink != 0);
            if self.stopped {
                counted.fold(&state, |folio| maps.times_in_vain(folio));
            }
        }
        let one = self.active(Hook::UnmapOne) && self.victims_by != VictimsBy::Nothing;
        let notifier = self.active(Hook::NotifierStart);
        let lost = maps.lost()?;
        let hooks = self.statuses(&counted.hits);
        let Counted {
            groups,
            victims,
            subscribers,
            times,
            excess,
            per_folio,
            ..
        } = counted;
        let mut unmap_ns = BTreeMap::new();
        let mut notifier_ns = BTreeMap::new();
        for (verdict, (unmap, notified)) in times {
            unmap_ns.insert(verdict, unmap);
            notifier_ns.insert(verdict, notified);
        }

        let victims_by = self.victims_by;
        let pid = |key: &VictimKey| pid(key, victims_by);
        let process = |key: &VictimKey, cgroups: &mut Cgroups| match victims.get(key) {
            Some(v) => Process {
                pid: pid(key),
                comm: text(&v.comm),
                cgroup: cgroups.name(v.cgroup),
                cgroup_id: v.cgroup,
            },
            None => Process {
                pid: pid(key),
                comm: String::new(),
                cgroup: None,
                cgroup_id: 0,
            },
        };
        let mut merged: BTreeMap<Group, ByVerdict> = BTreeMap::new();
        for (key, value) in &groups {
            let victim =
                (one && key.victim != NOBODY).then(|| process(&key.victim, &mut self.cgroups));
            let group = Group {
                road: Road::Reclaim.into(),
                reclaimer: Reclaimer::from_u8(key.reclaimer).into(),
                memory: Memory::from_u8(key.memory).into(),
                order: key.order,
                victim,
            };
            let into = merged.entry(group).or_default();
            for (to, from) in into.iter_mut().zip(&value.by_verdict) {
                to.add(&counts(from));
            }
        }
        merged.retain(|_, by| by.iter().any(|c| c.folios > 0));
        let mut lost_by: BTreeMap<Process, Lost> = BTreeMap::new();
        for (key, v) in victims.iter().filter(|(_, v)| v.mappings > 0) {
            let lost = lost_by.entry(process(key, &mut self.cgroups)).or_default();
            lost.mappings += v.mappings;
            lost.pages += v.pages;
        }
        let subscribers = subscribers
            .iter()
            .map(|(address, s)| Subscriber {
                symbol: self.symbols.name(*address),
                calls: s.calls,
                ns: s.ns,
                shared_calls: s.shared_calls,
            })
            .collect();
        Ok(Snapshot {
            elapsed: self.attached.elapsed().as_secs_f64(),
            groups: merged.into_iter().collect(),
            victims: one.then(|| lost_by.into_iter().collect()),
            subscribers: notifier.then_some(subscribers),
            unmap_ns,
            notifier_ns: notifier.then_some(notifier_ns),
            excess,
            per_folio,
            hooks,
            lost,
            in_flight,
            cost: self.cost(),
        })
    }

    /// Learns the names of victims' cgroups and of subscribers while they are there to be
    /// asked: a cgroup may be gone before the capture ends.
    ///
    /// # Errors
    /// When a map can't be read.
    pub fn learn_names(&mut self) -> Result<(), ReadError> {
        let victims = Maps(&self.ebpf).victims()?;
        self.cgroups.learn(victims.values().map(|v| v.cgroup));
        self.name_subscribers();
        Ok(())
    }

    /// Forwards what the probes have logged since the last call, where that was asked for.
    pub fn forward_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Single futile unmaps since the last call, at most `limit`.
    pub fn events(&mut self, limit: usize) -> Vec<Event> {
        let notifier = self.active(Hook::NotifierStart);
        let one = self.active(Hook::UnmapOne);
        let victims_by = self.victims_by;
        let Some(ring) = &mut self.ring else {
            return Vec::new();
        };
        let raw = events::take(ring, limit);
        let maps = Maps(&self.ebpf);
        raw.iter()
            .map(|e| {
                let mut event = events::decode(e, self.attached_ns, notifier);
                if one && let Some(v) = maps.victim(&e.victim) {
                    event.victim = Some(Process {
                        pid: pid(&e.victim, victims_by),
                        comm: text(&v.comm),
                        cgroup: self.cgroups.name(v.cgroup),
                        cgroup_id: v.cgroup,
                    });
                }
                event
            })
            .collect()
    }

    /// Ends the counting without losing any: no new shrink call is followed, those under way
    /// are waited for, then everything is detached. What is still open after that is added
    /// to the next snapshot.
    pub fn stop(&mut self) {
        if self.stopped {
            return;
        }
        for entry in BRACKET_ENTRIES {
            self.retire(entry);
        }
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline && Maps(&self.ebpf).claimed().is_ok_and(|c| !c.is_empty()) {
            thread::sleep(Duration::from_millis(5));
        }
        let rest: Vec<&'static str> = self
            .hooks
            .iter()
            .flat_map(|h| h.programs.iter().copied())
            .collect();
        for name in rest {
            self.retire(name);
        }
        // A task whose return was missed has counted times, and no hits yet.
        self.histograms = Histograms::default();
        self.stopped = true;
    }

    /// Detaches one program and keeps what the kernel counted of it.
    fn retire(&mut self, name: &'static str) {
        if let Some(program) = self.ebpf.program_mut(name)
            && program.fd().is_ok()
        {
            self.final_misses.insert(name, misses(program).unwrap_or(0));
            self.final_runs = add_runs(self.final_runs, program);
            unload(program);
        }
    }

    fn name_subscribers(&mut self) {
        let Ok(subscribers) = Maps(&self.ebpf).subscribers() else {
            return;
        };
        let new: BTreeSet<u64> = subscribers
            .keys()
            .filter(|a| **a > NO_SUBSCRIBER && !self.symbols.0.contains_key(a))
            .copied()
            .collect();
        if !new.is_empty() {
            let mut found = match &mut self.kallsyms {
                Some(file) => symbols::names(file, &new).unwrap_or_default(),
                None => BTreeMap::new(),
            };
            for address in new {
                // Not by its address, which would tell where the kernel lies.
                let name = found
                    .remove(&address)
                    .unwrap_or_else(|| format!("unnamed callback {}", self.symbols.0.len() + 1));
                self.symbols.0.insert(address, name);
            }
        }
    }
}

impl SymbolNames {
    fn name(&self, address: u64) -> String {
        if address == INTERVAL_NOTIFIERS {
            return "interval notifiers".into();
        }
        if address == NO_SUBSCRIBER {
            return "none found".into();
        }
        self.0
            .get(&address)
            .cloned()
            .unwrap_or_else(|| "unnamed callback".into())
    }
}

/// The process that a key stands for; 0 where it stands for a cgroup.
fn pid(key: &VictimKey, by: VictimsBy) -> u32 {
    if by == VictimsBy::Process {
        key.tgid
    } else {
        0
    }
}

fn start_log(ebpf: &mut Ebpf) -> Option<Logger> {
    EbpfLogger::init(ebpf)
        .inspect_err(|e| tracing::warn!("the probes' own log can't be read: {}", chain(e)))
        .ok()
}

fn monotonic_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
