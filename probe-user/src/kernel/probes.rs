//! The attached kernel side: from the attach through snapshots and events to the stop.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aya::{
    Btf, Ebpf, Endianness,
    maps::{MapData, RingBuf},
    sys::{Stats, enable_stats},
};
use aya_log::EbpfLogger;
use probe_ebpf::{Hook, VictimsBy};

use super::{
    assemble,
    attach::{AttachError, Attempt, Hooked, attach_all, cannot, chain, check_privileges, load},
    btf, events, host,
    layout::{LayoutError, ResolvedLayout, VMLINUX_BTF, running_kernel},
    maps::{Histograms, ReadError},
    names::Names,
    plan::{AttachMode, HookOverride, plan, wanted},
    privileges,
    programs::Programs,
    symbols,
};
use crate::snapshot::{Event, ProgramRuns, Snapshot};

/// The options of the kernel side.
#[derive(Clone, Debug, Default)]
pub struct ProbeOptions {
    /// How to attach to functions.
    pub attach: AttachMode,
    /// The user's wishes for individual hooks.
    pub hooks: Vec<HookOverride>,
    /// The number of futile unmaps recorded individually, at most, per CPU and second; 0: none.
    pub events_per_second: u32,
    /// Whether the kernel times each run of the programs, which measures pinscope's cost and
    /// adds to it.
    pub measure_self: bool,
    /// Whether to forward the probes' own log to this process's log.
    pub probe_log: bool,
    /// The key that victims are kept by.
    pub victims_by: VictimsBy,
}

/// The attached kernel side. Dropping it detaches everything; so does the kernel, however the
/// process ends.
pub struct Probes {
    programs: Programs,
    names: Names,
    histograms: Histograms,
    ring: Option<RingBuf<MapData>>,
    attached: Instant,
    attached_ns: u64,
    victims_by: VictimsBy,
    logger: Option<Logger>,
}

type Logger = EbpfLogger<&'static dyn log::Log>;

impl Probes {
    /// Loads and attaches everything that this kernel allows.
    ///
    /// # Errors
    /// [`AttachError::CannotRun`] if not even `try_to_unmap` can be hooked.
    pub fn attach(options: &ProbeOptions) -> Result<Probes, AttachError> {
        check_privileges()?;
        let mode = options.attach.resolve();
        let wanted = wanted(&options.hooks);
        let unknown = |e: LayoutError| {
            let remedy = e.remedy();
            cannot(
                format!("{e}: the layout of this kernel's structures is unknown"),
                remedy,
            )
        };
        let raw = running_kernel().map_err(unknown)?;
        let mut layout = ResolvedLayout::resolve(VMLINUX_BTF, &raw, &wanted).map_err(unknown)?;
        let plans = plan(&layout, mode, &options.hooks).map_err(|e| {
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
                Btf::parse(&btf::sparse(&layout.functions), Endianness::Little).ok()
            }
        };
        layout.kernel.events_per_second = options.events_per_second;
        layout.kernel.probe_log = u32::from(options.probe_log);
        layout.kernel.victims_by = options.victims_by as u32;
        let fentry = mode != AttachMode::Kprobe;
        layout.kernel.preemptible = u32::from(fentry && host::preempts() != Some(false));
        privileges::lift_memlock_limit();

        // Which hooks are attached is a constant to every program: when an attach fails that
        // should have worked, all programs are loaded again without that hook.
        let mut failed: Vec<(Hook, String)> = Vec::new();
        loop {
            layout.kernel.hooks = plans
                .iter()
                .filter(|p| p.obstacle.is_none())
                .map(|p| p.hook)
                .filter(|h| !failed.iter().any(|(f, _)| f == h))
                .fold(0, |bits, hook| bits | 1 << hook as u32);
            let mut ebpf = load(&layout)?;
            // Before the programs are loaded: the logger takes over the map that they write to.
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
        hooks: Vec<Hooked>,
        logger: Option<Logger>,
        options: &ProbeOptions,
    ) -> Result<Probes, AttachError> {
        if let Some(unmap) = hooks.iter().find(|h| h.hook == Hook::Unmap && !h.active()) {
            let reason = unmap.status.reason.clone().unwrap_or_default();
            return Err(cannot(
                format!(
                    "cannot hook try_to_unmap, without which nothing can be measured: {reason}"
                ),
                if privileges::paranoid().is_some() {
                    "sysctl kernel.perf_event_paranoid=2, or CAP_SYS_ADMIN; see `pinscope doctor`"
                } else {
                    "run a kernel with CONFIG_KPROBES=y, or with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y and CONFIG_BPF_JIT=y; see `pinscope doctor`"
                },
            ));
        }
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
        Ok(Probes {
            programs: Programs::new(ebpf, hooks, stats),
            names: Names::new(options.victims_by),
            histograms: Histograms::default(),
            ring,
            attached: Instant::now(),
            attached_ns: monotonic_ns(),
            victims_by: options.victims_by,
            logger,
        })
    }

    /// Returns how many hooks are attached, and how many there are.
    pub fn active_of_all(&self) -> (usize, usize) {
        self.programs.active_of_all()
    }

    /// Drops every capability that is no longer needed; see [`privileges::drop_all`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drop_privileges(&mut self) -> Result<bool, caps::errors::CapsError> {
        privileges::drop_all(|| self.programs.maps().lost().is_ok())
    }

    /// Whether the cgroup of this name no longer exists.
    pub fn cgroup_is_gone(&self, name: &str) -> bool {
        self.names.cgroup_is_gone(name)
    }

    /// Whether the kernel times the programs.
    pub fn measures_itself(&self) -> bool {
        self.programs.timed()
    }

    /// Returns the runs of each program; nothing if the kernel doesn't time them.
    pub fn program_runs(&self) -> Vec<ProgramRuns> {
        self.programs.runs()
    }

    /// Reads everything counted so far.
    ///
    /// # Errors
    /// When a map can't be read.
    pub fn snapshot(&mut self) -> Result<Snapshot, ReadError> {
        let maps = self.programs.maps();
        self.names.learn_subscribers(&maps);
        let mut counted = maps.counted(&mut self.histograms)?;
        let mut in_flight = 0;
        for slot in maps.claimed()? {
            let state = maps.task(slot)?;
            in_flight += u64::from(state.in_shrink != 0);
            if self.programs.stopped() {
                counted.fold(&state, |folio| maps.times_futile(folio));
            }
        }
        let lost = maps.lost()?;
        let one = self.programs.active(Hook::UnmapOne) && self.victims_by != VictimsBy::Nothing;
        let notifier = self.programs.active(Hook::NotifierStart);
        let names = &mut self.names;
        let groups = assemble::groups(&counted, names, one);
        let victims = one.then(|| assemble::victims(&counted, names));
        let subscribers = notifier.then(|| assemble::subscribers(&counted, names));
        let mut unmap_ns = BTreeMap::new();
        let mut notifier_ns = BTreeMap::new();
        for (verdict, (unmap, notified)) in counted.times {
            unmap_ns.insert(verdict, unmap);
            notifier_ns.insert(verdict, notified);
        }
        Ok(Snapshot {
            elapsed: self.attached.elapsed().as_secs_f64(),
            groups,
            newer: Vec::new(),
            victims,
            subscribers,
            unmap_ns,
            notifier_ns: notifier.then_some(notifier_ns),
            excess: counted.excess,
            per_folio: counted.per_folio,
            hooks: self.programs.statuses(&counted.hits),
            lost,
            maps: Vec::new(),
            in_flight,
            cost: self.programs.cost(),
        })
    }

    /// Learns the names of victims' cgroups and of subscribers, which may be gone before the
    /// capture ends.
    ///
    /// # Errors
    /// When a map can't be read.
    pub fn learn_names(&mut self) -> Result<(), ReadError> {
        self.names.learn(&self.programs.maps())
    }

    /// Forwards what the probes have logged since the last call, if they log.
    pub fn forward_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Returns the individual futile unmaps since the last call, at most `limit`.
    pub fn events(&mut self, limit: usize) -> Vec<Event> {
        let Some(ring) = &mut self.ring else {
            return Vec::new();
        };
        let notifier = self.programs.active(Hook::NotifierStart);
        let one = self.programs.active(Hook::UnmapOne);
        let maps = self.programs.maps();
        events::take(ring, limit)
            .iter()
            .map(|e| {
                let mut event = events::decode(e, self.attached_ns, notifier);
                if one && let Some(v) = maps.victim(&e.victim) {
                    event.victim = Some(self.names.process(&e.victim, Some(&v)));
                }
                event
            })
            .collect()
    }

    /// Ends the counting without losing counts: no new shrink call is followed, and everything
    /// is detached once those under way have ended. The next snapshot includes what is still
    /// open after that.
    pub fn stop(&mut self) {
        if self.programs.stopped() {
            return;
        }
        self.programs.stop();
        // A task whose return was missed has counted times, but no hits yet.
        self.histograms = Histograms::default();
    }
}

fn start_log(ebpf: &mut Ebpf) -> Option<Logger> {
    EbpfLogger::init(ebpf)
        .inspect_err(|e| tracing::warn!("cannot read the log of the probes: {}", chain(e)))
        .ok()
}

fn monotonic_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
