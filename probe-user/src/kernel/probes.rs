//! The attached kernel side: from the attach through snapshots and events to the stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use aya::{
    Btf, Ebpf, Endianness,
    maps::{MapData, RingBuf},
    sys::{Stats, enable_stats},
};
use aya_log::EbpfLogger;
use probe_ebpf::{Hook, VictimsBy, layout::ABSENT};

use super::{
    assemble,
    attach::{AttachError, Attempt, Hooked, attach_all, cannot, chain, check_privileges, load},
    btf,
    cgroups::Cgroups,
    counting::Counting,
    events,
    harvest::Harvest,
    host,
    layout::{LayoutError, ResolvedLayout, VMLINUX_BTF, running_kernel},
    maps::{Histograms, MapsMut, ReadError},
    names::Names,
    plan::{AttachMode, HookOverride, plan},
    privileges,
    programs::Programs,
    symbols,
};
use crate::snapshot::{Event, ProgramRuns, Snapshot};

/// The shortest time between two ticks: what a program had begun before the first one has ended
/// at the second.
const TICK: Duration = Duration::from_millis(400);

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
    harvest: Harvest,
    ticked: Option<Instant>,
    histograms: Histograms,
    ring: Option<RingBuf<MapData>>,
    counting: Counting,
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
        let wanted: Vec<&str> = options
            .hooks
            .iter()
            .filter_map(HookOverride::symbol)
            .collect();
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
        let cgroups = Cgroups::new();
        if !cgroups.whole() {
            // Paths from the kernel would not be paths here.
            layout.kernel.kernfs_name = ABSENT;
        }
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
            MapsMut(&mut ebpf).prepare()?;
            // Before the programs are loaded: the logger takes over the map that they write to.
            let logger = if options.probe_log {
                start_log(&mut ebpf)
            } else {
                None
            };
            match attach_all(&mut ebpf, &plans, &failed, mode, btf.as_ref())? {
                Attempt::Failed(hook, why) => failed.push((hook, why)),
                Attempt::Attached(hooks, counting) => {
                    drop(btf);
                    let names = (cgroups, logger);
                    return Self::finish(ebpf, hooks, counting, names, options);
                }
            }
        }
    }

    fn finish(
        mut ebpf: Ebpf,
        hooks: Vec<Hooked>,
        counting: Counting,
        (cgroups, logger): (Cgroups, Option<Logger>),
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
            Some(ring_buffer(&mut ebpf, "EVENTS")?)
        } else {
            None
        };
        let named = ring_buffer(&mut ebpf, "CGROUP_NAMES")?;
        let stats = if options.measure_self {
            enable_stats(Stats::RunTime).ok()
        } else {
            None
        };
        Ok(Probes {
            programs: Programs::new(ebpf, hooks, stats),
            names: Names::new(options.victims_by, cgroups, Some(named)),
            harvest: Harvest::new(options.victims_by),
            ticked: None,
            histograms: Histograms::default(),
            ring,
            counting,
            victims_by: options.victims_by,
            logger,
        })
    }

    /// Returns how many hooks are attached, and how many this version attaches on this kernel.
    pub fn active_of_all(&self) -> (usize, usize) {
        self.programs.active_of_all()
    }

    /// Returns when the probes began to count.
    pub fn since(&self) -> Instant {
        self.counting.since()
    }

    /// Returns when the probes began to count, by the wall clock.
    pub fn started(&self) -> SystemTime {
        self.counting.started()
    }

    /// Drops every capability that is no longer needed; see [`privileges::drop_all`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drop_privileges(&mut self) -> Result<bool, caps::errors::CapsError> {
        self.drop_privileges_but(&[])
    }

    /// Drops every capability that is no longer needed, but keeps those that the caller needs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drop_privileges_but(
        &mut self,
        needed: &[caps::Capability],
    ) -> Result<bool, caps::errors::CapsError> {
        privileges::drop_all(needed, || self.programs.maps().lost().is_ok())
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
        self.names.learn_cgroups();
        self.names.learn_subscribers(&maps);
        let elapsed = self.counting.seconds();
        let mut counted = maps.counted(&mut self.histograms)?;
        let mut in_flight = 0;
        let claimed = maps.claimed()?;
        let map_use = assemble::map_use(&maps, &counted, claimed.len());
        self.harvest.add_to(&mut counted);
        for slot in claimed {
            let state = maps.task(slot)?;
            in_flight += u64::from(state.in_shrink != 0);
            if self.programs.stopped() {
                counted.fold(&state, self.victims_by, |folio| maps.times_futile(folio));
            }
        }
        if self.programs.stopped() {
            // The last chance to find names.
            self.names
                .settle(counted.victims.values().map(|v| v.cgroup));
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
            elapsed,
            groups,
            newer: Vec::new(),
            victims,
            subscribers,
            unmap_ns,
            unmap_ns_by_reclaimer: counted.by_reclaimer,
            notifier_ns: notifier.then_some(notifier_ns),
            excess: counted.excess,
            per_folio: counted.per_folio,
            hooks: self.programs.statuses(&counted.hits),
            lost,
            maps: map_use,
            in_flight,
            cost: self.programs.cost(),
        })
    }

    /// Does what must not wait for a snapshot: learns the names of cgroups and subscribers, which
    /// may be gone before the capture ends, and gives back the keys of processes or cgroups that
    /// are gone. To be called about once a second; calls in quick succession do nothing.
    ///
    /// # Errors
    /// When a map can't be read.
    pub fn tick(&mut self) -> Result<(), ReadError> {
        if self.programs.stopped() || self.ticked.is_some_and(|at| at.elapsed() < TICK) {
            return Ok(());
        }
        self.ticked = Some(Instant::now());
        self.names.tick(&self.programs.maps());
        let mut maps = self.programs.maps_mut();
        self.harvest.tick(&mut maps, &mut self.names)?;
        if self.names.too_many() {
            let victims = maps.read().victims()?;
            let mut used: BTreeSet<u64> = victims.values().map(|v| v.cgroup).collect();
            used.extend(self.harvest.cgroups());
            self.names.keep_only(&used, &mut maps);
        }
        Ok(())
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
                let mut event = events::decode(e, self.counting.since_ns(), notifier);
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
        self.counting.end();
        self.programs.stop();
        // A task whose return was missed has counted times, but no hits yet.
        self.histograms = Histograms::default();
    }
}

fn ring_buffer(ebpf: &mut Ebpf, map: &'static str) -> Result<RingBuf<MapData>, ReadError> {
    let data = ebpf.take_map(map).ok_or(ReadError::Missing(map))?;
    RingBuf::try_from(data).map_err(|source| ReadError::Map { map, source })
}

fn start_log(ebpf: &mut Ebpf) -> Option<Logger> {
    EbpfLogger::init(ebpf)
        .inspect_err(|e| tracing::warn!("cannot read the log of the probes: {}", chain(e)))
        .ok()
}
