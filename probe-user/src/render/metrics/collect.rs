//! A snapshot's numbers as families. Names and labels are those of the contract; what a hook
//! that isn't attached would have told has no series.

use std::time::{SystemTime, UNIX_EPOCH};

use probe_ebpf::{Hook, Memory, Reclaimer, Verdict};

use super::{
    buckets::{self, Of},
    family::{Example, Family, Kind, Label, Value},
};
use crate::{
    model::{Measured, derive, ranking::Top},
    snapshot::{Event, Histogram, HookState, LostCounts, ProgramRuns, Snapshot},
    words::Word,
};

/// This process, by the usual names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStats {
    /// User and system time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// When it started, in seconds since 1970.
    pub start: Option<f64>,
}

/// Everything that metrics are made of.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What the kernel side counted.
    pub snapshot: &'a Snapshot,
    /// The cgroups, where they are asked for.
    pub cgroups: Option<&'a Top>,
    /// The BPF programs' runs, where the kernel counts them.
    pub programs: &'a [ProgramRuns],
    /// This process.
    pub process: ProcessStats,
    /// Futile unmaps seen singly, for exemplars: the newest last.
    pub events: &'a [Event],
    /// When the probes were attached.
    pub attached: SystemTime,
    /// Series that the budget left out of earlier readings.
    pub dropped: u64,
}

/// Who reclaims as a rule, and what: these start at 0, so that a rate has a beginning.
const RECLAIMERS: [Reclaimer; 5] = [
    Reclaimer::Kswapd,
    Reclaimer::Direct,
    Reclaimer::Memcg,
    Reclaimer::Proactive,
    Reclaimer::Madvise,
];
const MEMORY: [Memory; 3] = [Memory::Anon, Memory::Shmem, Memory::File];

/// All families, those of most worth first.
pub fn families(view: &View<'_>) -> Vec<Family> {
    let measured = Measured::new(&view.snapshot.hooks);
    let dropped = Family::new(
        "pinscope_series_dropped",
        None,
        Kind::Counter,
        "Series that the budget left out, added up over readings of the kernel",
    );
    let mut all = vec![
        build_info(),
        single(dropped, Value::Count(view.dropped)),
        hooks(view.snapshot),
        missed(view.snapshot),
    ];
    if measured.by(Hook::Unmap) {
        all.extend(unmaps(measured, view.snapshot));
        all.push(times(measured, view));
        all.push(references(view.snapshot));
        all.extend(subscribers(measured, view.snapshot));
    }
    all.push(lost(&view.snapshot.lost));
    all.extend(process(&view.process));
    if !view.programs.is_empty() {
        all.extend(programs(view.programs));
    }
    if let Some(top) = view.cgroups.filter(|_| measured.by(Hook::UnmapOne)) {
        all.push(cgroups(measured, top));
    }
    all.retain(|f| !f.series.is_empty());
    all
}

fn single(mut family: Family, value: Value) -> Family {
    family.push(Vec::new(), value);
    family
}

fn build_info() -> Family {
    let mut family = Family::new(
        "pinscope_build",
        None,
        Kind::Info,
        "The version of pinscope that runs",
    );
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    family.push(version, Value::Count(1));
    family
}

fn hooks(snapshot: &Snapshot) -> Family {
    let mut family = Family::new(
        "pinscope_hook_active",
        None,
        Kind::Gauge,
        "Whether a hook is attached; /readyz says why one isn't",
    );
    for hook in &snapshot.hooks {
        let active = hook.state == HookState::Active;
        let labels = vec![("hook", hook.name.clone())];
        family.push(labels, Value::Count(u64::from(active)));
    }
    family
}

fn missed(snapshot: &Snapshot) -> Family {
    let mut family = Family::new(
        "pinscope_hook_missed",
        None,
        Kind::Counter,
        "Calls or returns of a hook that are known to have been missed",
    );
    for hook in &snapshot.hooks {
        if let (HookState::Active, Some(missed)) = (hook.state, hook.missed) {
            family.push(vec![("hook", hook.name.clone())], Value::Count(missed));
        }
    }
    family
}

fn labels(reclaimer: &Word<Reclaimer>, memory: &Word<Memory>, verdict: Verdict) -> Vec<Label> {
    vec![
        ("reclaimer", reclaimer.to_string()),
        ("memory", memory.to_string()),
        ("verdict", verdict.name().to_owned()),
    ]
}

/// Unmaps and their pages by reclaimer, memory and verdict; notifier calls by verdict.
fn unmaps(measured: Measured, snapshot: &Snapshot) -> Vec<Family> {
    use std::collections::BTreeMap;
    let mut by: BTreeMap<(Word<Reclaimer>, Word<Memory>, Verdict), (u64, u64)> = BTreeMap::new();
    let mut calls: BTreeMap<Verdict, u64> = BTreeMap::new();
    let verdicts = || Verdict::ALL.into_iter().filter(|v| measured.verdict(*v));
    for verdict in verdicts().filter(|v| v.is_futile()) {
        for reclaimer in RECLAIMERS {
            for memory in MEMORY {
                let reclaimer = measured.reclaimer(reclaimer);
                by.entry((reclaimer.into(), memory.into(), verdict))
                    .or_default();
            }
        }
    }
    for verdict in verdicts().filter(|v| *v != Verdict::Undecided) {
        calls.entry(verdict).or_default();
    }
    for (group, counts) in derive::reclaim_rows(measured, None, snapshot) {
        for verdict in Verdict::ALL {
            let c = counts[verdict as usize];
            if c.folios > 0 {
                let sums = by
                    .entry((group.reclaimer.clone(), group.memory.clone(), verdict))
                    .or_default();
                sums.0 = sums.0.saturating_add(c.folios);
                sums.1 = sums.1.saturating_add(c.pages);
                let sum = calls.entry(verdict).or_default();
                *sum = sum.saturating_add(c.notifier_calls);
            }
        }
    }
    let mut folios = Family::new(
        "pinscope_unmaps",
        None,
        Kind::Counter,
        "Folios that reclaim unmapped, by what became of them",
    );
    let mut pages = Family::new(
        "pinscope_unmapped_pages",
        None,
        Kind::Counter,
        "Pages of the folios that reclaim unmapped, by what became of them",
    );
    for ((reclaimer, memory, verdict), (n, p)) in by {
        let labels = labels(&reclaimer, &memory, verdict);
        if p > 0 {
            pages.push(labels.clone(), Value::Count(p));
        }
        folios.push(labels, Value::Count(n));
    }
    let mut all = vec![folios, pages];
    if measured.by(Hook::NotifierStart) {
        let mut family = Family::new(
            "pinscope_notifier_calls",
            None,
            Kind::Counter,
            "MMU notifier calls within reclaim's unmaps, by what became of the folio",
        );
        for (verdict, n) in calls {
            family.push(
                vec![("verdict", verdict.name().to_owned())],
                Value::Count(n),
            );
        }
        all.push(family);
    }
    all
}

/// The time of an unmap, by verdict: always of the futile ones, of others where there are any.
fn times(measured: Measured, view: &View<'_>) -> Family {
    let mut family = Family::new(
        "pinscope_unmap",
        Some("seconds"),
        Kind::Histogram,
        "Time that an unmap took, its notifiers and pinscope's own probes in them included",
    );
    let mut by: std::collections::BTreeMap<Verdict, Histogram> = std::collections::BTreeMap::new();
    for verdict in Verdict::ALL
        .into_iter()
        .filter(|v| v.is_futile() && measured.verdict(*v))
    {
        by.entry(verdict).or_default();
    }
    for (verdict, h) in &view.snapshot.unmap_ns {
        if h.buckets.iter().any(|n| *n > 0) {
            let to = by.entry(measured.attribute(*verdict)).or_default();
            *to = crate::model::capture::histogram::merged(to, h);
        }
    }
    for (verdict, h) in by {
        let mut value = buckets::exported(&h, Of::Times);
        value.exemplars = exemplars(view, verdict);
        family.push(
            vec![("verdict", verdict.name().to_owned())],
            Value::Histogram(Box::new(value)),
        );
    }
    family
}

/// The newest single unmap of each bucket.
fn exemplars(view: &View<'_>, verdict: Verdict) -> Vec<(usize, Example)> {
    let start = view
        .attached
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64());
    let mut found: std::collections::BTreeMap<usize, Example> = std::collections::BTreeMap::new();
    for event in view.events.iter().filter(|e| e.verdict == verdict) {
        let mut labels = vec![
            ("reclaimer_comm", brief(&event.reclaimer_comm, 16)),
            ("memory", brief(event.memory.as_str(), 16)),
        ];
        if let Some(cgroup) = event.victim.as_ref().and_then(|v| v.cgroup.as_ref()) {
            labels.push(("cgroup", brief(cgroup, 48)));
        }
        let example = Example {
            value: Of::Times.scale(event.unmap_ns),
            at: start + event.elapsed,
            labels,
        };
        found.insert(buckets::classic_of(event.unmap_ns, Of::Times), example);
    }
    found.into_iter().collect()
}

/// The end of a text, so that labels of an exemplar stay within 128 characters.
fn brief(text: &str, most: usize) -> String {
    let skip = text.chars().count().saturating_sub(most);
    text.chars().skip(skip).collect()
}

fn references(snapshot: &Snapshot) -> Family {
    single(
        Family::new(
            "pinscope_excess_references",
            None,
            Kind::Histogram,
            "References too many on folios that were unmapped in vain; a pin of a small folio is 1024",
        ),
        Value::Histogram(Box::new(buckets::exported(
            &snapshot.excess,
            Of::References,
        ))),
    )
}

/// How often and how long each subscriber was called. Their distribution isn't known.
fn subscribers(measured: Measured, snapshot: &Snapshot) -> Option<Family> {
    if !measured.by(Hook::NotifierStart) {
        return None;
    }
    let mut family = Family::new(
        "pinscope_notifier",
        Some("seconds"),
        Kind::Histogram,
        "Time of MMU notifier calls within reclaim's unmaps, by a subscriber that took part; only sum and count are known",
    );
    let mut by: std::collections::BTreeMap<&str, (u64, u64)> = std::collections::BTreeMap::new();
    for s in snapshot.subscribers.iter().flatten() {
        let sum = by.entry(&s.symbol).or_default();
        sum.0 = sum.0.saturating_add(s.calls);
        sum.1 = sum.1.saturating_add(s.ns);
    }
    for (symbol, (calls, ns)) in by {
        family.push(
            vec![("subscriber", symbol.to_owned())],
            Value::Histogram(Box::new(buckets::undistributed(calls, ns as f64 / 1e9))),
        );
    }
    Some(family)
}

fn lost(lost: &LostCounts) -> Family {
    let mut family = Family::new(
        "pinscope_events_lost",
        None,
        Kind::Counter,
        "What didn't fit, by map: anything but events makes counters too small",
    );
    for (map, n) in [
        ("tasks", lost.tasks),
        ("groups", lost.groups),
        ("victims", lost.victims),
        ("mappings", lost.mappings),
        ("folios", lost.folios),
        ("subscribers", lost.subscribers),
        ("events", lost.events),
        ("reads", lost.reads),
    ] {
        family.push(vec![("map", map.to_owned())], Value::Count(n));
    }
    family
}

fn programs(programs: &[ProgramRuns]) -> [Family; 2] {
    let mut seconds = Family::new(
        "pinscope_bpf_run",
        Some("seconds"),
        Kind::Counter,
        "Time in pinscope's BPF programs, from the kernel's own statistics",
    );
    let mut runs = Family::new(
        "pinscope_bpf_runs",
        None,
        Kind::Counter,
        "Runs of pinscope's BPF programs, from the kernel's own statistics",
    );
    for p in programs {
        let label = vec![("program", p.name.clone())];
        seconds.push(label.clone(), Value::Number(p.seconds));
        runs.push(label, Value::Count(p.runs));
    }
    [seconds, runs]
}

fn process(stats: &ProcessStats) -> Vec<Family> {
    let gauge = |name, unit, help| Family::new(name, unit, Kind::Gauge, help);
    let mut all = Vec::new();
    if let Some(seconds) = stats.cpu_seconds {
        let family = Family::new(
            "process_cpu",
            Some("seconds"),
            Kind::Counter,
            "User and system time of this process",
        );
        all.push(single(family, Value::Number(seconds)));
    }
    if let Some(bytes) = stats.resident_bytes {
        let family = gauge(
            "process_resident_memory",
            Some("bytes"),
            "Resident memory of this process",
        );
        all.push(single(family, Value::Count(bytes)));
    }
    if let Some(fds) = stats.open_fds {
        let family = gauge(
            "process_open_fds",
            None,
            "Open file descriptors of this process",
        );
        all.push(single(family, Value::Count(fds)));
    }
    if let Some(start) = stats.start {
        let family = gauge(
            "process_start_time",
            Some("seconds"),
            "When this process started, in seconds since 1970",
        );
        all.push(single(family, Value::Number(start)));
    }
    all
}

fn cgroups(measured: Measured, top: &Top) -> Family {
    let mut family = Family::new(
        "pinscope_cgroup_unmaps",
        None,
        Kind::Counter,
        "Folios that reclaim unmapped from processes of the costliest cgroups, by what became of them",
    );
    for (name, folios) in top.counts() {
        for verdict in Verdict::ALL.into_iter().filter(|v| measured.verdict(*v)) {
            let n = Verdict::ALL
                .into_iter()
                .filter(|v| measured.attribute(*v) == verdict)
                .fold(0, |n: u64, v| n.saturating_add(folios[v as usize]));
            if n > 0 || verdict.is_futile() {
                let labels = vec![
                    ("cgroup", name.to_owned()),
                    ("verdict", verdict.name().to_owned()),
                ];
                family.push(labels, Value::Count(n));
            }
        }
    }
    family
}
