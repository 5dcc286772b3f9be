//! Snapshots of hosts to report on.

use std::{collections::BTreeMap, time::SystemTime};

use pinscope::{
    model::{Capture, Window},
    snapshot::{
        Attach, Counts, Event, Group, Histogram, HookState, HookStatus, Host, Lost, LostCounts,
        Process, SelfCost, Snapshot, Subscriber,
    },
};
use probe_ebpf::{Hook, Memory, Reclaimer, Road, Verdict, hist, hooks::Target};

pub(crate) const SECONDS: f64 = 30.0;

pub(crate) fn host() -> Host {
    Host {
        kernel: "6.12.94+deb13-cloud-amd64".to_owned(),
        hostname: "build7".to_owned(),
        cpus: 4,
    }
}

pub(crate) fn window() -> Window {
    let start = humantime::parse_rfc3339("2026-08-01T12:00:00Z").unwrap();
    Window::new(start, SECONDS)
}

pub(crate) fn epoch() -> Window {
    Window::new(SystemTime::UNIX_EPOCH, SECONDS)
}

/// The whole capture of one snapshot.
pub(crate) fn capture(snapshot: &Snapshot) -> Capture {
    Capture::between(&host(), window(), None, snapshot, &[])
}

pub(crate) fn process(pid: u32, comm: &str, cgroup: &str) -> Process {
    Process {
        pid,
        comm: comm.to_owned(),
        cgroup: Some(cgroup.to_owned()),
        cgroup_id: 1000 + u64::from(pid),
    }
}

/// A histogram of values with their counts.
pub(crate) fn histogram(values: &[(u64, u64)]) -> Histogram {
    let mut buckets = vec![0; hist::BUCKETS];
    for &(v, n) in values {
        buckets[hist::bucket_of(v)] += n;
    }
    while buckets.last() == Some(&0) {
        buckets.pop();
    }
    Histogram {
        sum: values.iter().map(|(v, n)| v * n).sum(),
        min: values.iter().map(|(v, _)| *v).min(),
        max: values.iter().map(|(v, _)| *v).max(),
        buckets,
    }
}

/// The same in octaves.
pub(crate) fn octaves(values: &[(u64, u64)]) -> Histogram {
    let middle = |v| hist::lower(hist::middle_of(hist::octave_of(hist::bucket_of(v))));
    let mut h = histogram(
        &values
            .iter()
            .map(|(v, n)| (middle(*v), *n))
            .collect::<Vec<_>>(),
    );
    h.sum = values.iter().map(|(v, n)| v * n).sum();
    (h.min, h.max) = (None, None);
    h
}

/// `n` durations around `middle`, skewed like latencies.
pub(crate) fn times(n: u64, middle: u64) -> Vec<(u64, u64)> {
    let shape = [
        (70, 18),
        (85, 160),
        (100, 420),
        (120, 260),
        (160, 90),
        (230, 36),
        (420, 12),
        (2100, 4),
    ];
    let mut left = n;
    let mut out = Vec::new();
    for (percent, per_mille) in shape.into_iter().rev() {
        let part = (n * per_mille / 1000).min(left);
        left -= part;
        out.push((middle * percent / 100, part));
    }
    out.push((middle, left));
    out.retain(|(_, n)| *n > 0);
    out
}

pub(crate) fn hook(hook: Hook, hits: u64) -> HookStatus {
    let entry = hook.entry();
    let attach = match entry.target {
        Target::Function { .. } => Attach::Fentry,
        Target::Tracepoint { .. } => Attach::RawTracepoint,
    };
    HookStatus {
        name: hook.name().to_owned(),
        symbol: entry.symbols[0].to_owned(),
        attach: Some(attach),
        state: HookState::Active,
        reason: None,
        hits: Some(hits),
        missed: (attach == Attach::Fentry).then_some(0),
    }
}

/// Makes `hook` inactive.
pub(crate) fn without(snapshot: &mut Snapshot, hook: Hook, state: HookState, reason: &str) {
    for row in snapshot
        .hooks
        .iter_mut()
        .filter(|row| row.name == hook.name())
    {
        row.state = state;
        row.reason = Some(reason.to_owned());
        row.attach = None;
        row.hits = None;
        row.missed = None;
    }
}

/// The hooks of these hosts. The list is fixed so that a new hook leaves the snapshots alone.
const HOOKS: [Hook; 9] = [
    Hook::ShrinkList,
    Hook::ReclaimPages,
    Hook::Unmap,
    Hook::UnmapOne,
    Hook::NotifierStart,
    Hook::NotifierEnd,
    Hook::RemoveMapping,
    Hook::WriteFolio,
    Hook::RefFreeze,
];

/// Every one of these hooks as it is on a stock kernel.
pub(crate) fn hooks(unmaps: u64) -> Vec<HookStatus> {
    let mut hooks: Vec<_> = HOOKS.into_iter().map(|h| hook(h, unmaps)).collect();
    let freeze = hooks.last_mut().unwrap();
    freeze.state = HookState::Unsupported;
    freeze.attach = None;
    freeze.hits = None;
    freeze.reason = Some("the kernel is built without CONFIG_DEBUG_PAGE_REF".to_owned());
    hooks
}

/// One row of the partition.
pub(crate) fn group(
    reclaimer: Reclaimer,
    memory: Memory,
    order: u8,
    victim: &Process,
    folios: &[(Verdict, u64)],
) -> (Group, [Counts; Verdict::COUNT]) {
    let mut counts = [Counts::default(); Verdict::COUNT];
    for &(verdict, n) in folios {
        counts[verdict as usize] = Counts {
            folios: n,
            pages: n << order,
            notifier_calls: n,
            notifier_ns: n * 4_100,
            unmap_ns: n * 7_900,
        };
    }
    (
        Group {
            road: Road::Reclaim.into(),
            reclaimer: reclaimer.into(),
            memory: memory.into(),
            order,
            victim: Some(victim.clone()),
        },
        counts,
    )
}

/// A host with every hook active on which nothing happened.
pub(crate) fn nothing() -> Snapshot {
    Snapshot {
        elapsed: SECONDS,
        groups: Vec::new(),
        newer: Vec::new(),
        victims: Some(Vec::new()),
        subscribers: Some(Vec::new()),
        unmap_ns: BTreeMap::new(),
        unmap_ns_by_reclaimer: BTreeMap::new(),
        notifier_ns: Some(BTreeMap::new()),
        excess: histogram(&[]),
        per_folio: histogram(&[]),
        hooks: hooks(0),
        lost: LostCounts::default(),
        maps: Vec::new(),
        in_flight: 0,
        cost: SelfCost {
            bpf_seconds: Some(0.0),
            bpf_runs: Some(0),
            cpu_seconds: Some(0.11),
            rss_bytes: Some(14_680_064),
        },
    }
}

/// A host where a trainer's memfd is pinned while somebody keeps writing memory.reclaim.
pub(crate) fn busy() -> Snapshot {
    use Verdict::{Freed, FutilePinned, FutileReferenced, Kept, Writeback};
    let trainer = process(212, "gpu-trainer", "/train.slice/job7.scope");
    let loader = process(240, "dataloader", "/train.slice/job7.scope");
    let logs = process(98, "journald", "/system.slice/systemd-journald.service");
    let mut s = nothing();
    s.groups = vec![
        group(
            Reclaimer::Proactive,
            Memory::Shmem,
            0,
            &trainer,
            &[(FutilePinned, 1_536), (Writeback, 256), (Freed, 64)],
        ),
        group(
            Reclaimer::Kswapd,
            Memory::Anon,
            0,
            &loader,
            &[(FutileReferenced, 48), (Writeback, 80)],
        ),
        group(
            Reclaimer::Kswapd,
            Memory::File,
            0,
            &logs,
            &[(Freed, 60), (Kept, 4)],
        ),
    ];
    s.victims = Some(vec![
        (
            trainer,
            Lost {
                mappings: 1_536,
                pages: 1_536,
            },
        ),
        (
            loader,
            Lost {
                mappings: 560,
                pages: 560,
            },
        ),
    ]);
    s.subscribers = Some(vec![Subscriber {
        symbol: "kvm_mmu_notifier_invalidate_range_start".to_owned(),
        calls: 2_048,
        ns: 2_048 * 4_100,
        shared_calls: 0,
    }]);
    s.unmap_ns = BTreeMap::from([
        (FutilePinned, histogram(&times(1_536, 7_900))),
        (FutileReferenced, histogram(&times(48, 6_100))),
        (Freed, histogram(&times(124, 5_200))),
    ]);
    s.unmap_ns_by_reclaimer = BTreeMap::from([
        (
            (Reclaimer::Proactive, FutilePinned),
            octaves(&times(1_536, 7_900)),
        ),
        (
            (Reclaimer::Kswapd, FutileReferenced),
            octaves(&times(48, 6_100)),
        ),
        ((Reclaimer::Proactive, Freed), octaves(&times(64, 5_200))),
        ((Reclaimer::Kswapd, Freed), octaves(&times(60, 5_200))),
    ]);
    s.notifier_ns = Some(BTreeMap::from([
        (FutilePinned, histogram(&times(1_536, 4_100))),
        (FutileReferenced, histogram(&times(48, 3_900))),
    ]));
    s.excess = histogram(&[(1, 48), (1_024, 1_536)]);
    s.per_folio = histogram(&[(1, 48), (3, 512)]);
    s.hooks = hooks(2_048);
    s.in_flight = 1;
    s.cost = SelfCost {
        bpf_seconds: Some(0.0042),
        bpf_runs: Some(12_288),
        cpu_seconds: Some(0.21),
        rss_bytes: Some(14_680_064),
    };
    s
}

/// A host where reclaim works and nothing is futile.
pub(crate) fn quiet() -> Snapshot {
    use Verdict::{Freed, Kept, Writeback};
    let web = process(700, "nginx", "/system.slice/nginx.service");
    let mut s = nothing();
    s.groups = vec![
        group(
            Reclaimer::Kswapd,
            Memory::File,
            0,
            &web,
            &[(Freed, 18_400), (Kept, 210)],
        ),
        group(
            Reclaimer::Kswapd,
            Memory::Anon,
            0,
            &web,
            &[(Writeback, 5_100)],
        ),
        group(Reclaimer::Direct, Memory::File, 0, &web, &[(Freed, 640)]),
    ];
    for (_, counts) in &mut s.groups {
        for c in counts {
            (c.notifier_calls, c.notifier_ns) = (0, 0);
        }
    }
    s.unmap_ns = BTreeMap::from([(Freed, histogram(&times(19_040, 2_100)))]);
    s.hooks = hooks(24_350);
    s
}

/// The busy host on a kernel that lacks several hooks.
pub(crate) fn missing_hooks() -> Snapshot {
    let mut s = busy();
    for (group, counts) in &mut s.groups {
        group.victim = None;
        group.reclaimer = Reclaimer::Unknown.into();
        let mut undecided = Counts::default();
        for v in [Verdict::Freed, Verdict::Writeback, Verdict::Kept] {
            undecided.add(&counts[v as usize]);
            counts[v as usize] = Counts::default();
        }
        counts[Verdict::Undecided as usize] = undecided;
        for c in counts {
            (c.notifier_calls, c.notifier_ns) = (0, 0);
        }
    }
    s.victims = None;
    s.subscribers = None;
    s.notifier_ns = None;
    let gone = "no such function on this kernel: it was inlined";
    without(&mut s, Hook::ShrinkList, HookState::Unsupported, gone);
    without(&mut s, Hook::UnmapOne, HookState::Unsupported, gone);
    without(
        &mut s,
        Hook::NotifierStart,
        HookState::Failed,
        "EBUSY: something else is attached",
    );
    without(
        &mut s,
        Hook::NotifierEnd,
        HookState::Disabled,
        "turned off by --no-hook",
    );
    s
}

/// Many processes share the pinned memory; two of the maps were too small.
pub(crate) fn many_victims() -> Snapshot {
    use Verdict::{Freed, FutilePinned, FutileReferenced, Restored, Writeback};
    let workers: Vec<Process> = (0..14)
        .map(|i| process(4_000 + i, &format!("postgres-{i}"), &format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{i:04x}.slice/db.scope"
        )))
        .collect();
    let mut s = nothing();
    let by = [Reclaimer::Memcg, Reclaimer::Direct, Reclaimer::Kswapd];
    s.groups = workers
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let n = 6_000 / (i as u64 + 1);
            let (memory, order) = if i % 3 == 0 {
                (Memory::Shmem, 9)
            } else {
                (Memory::File, 0)
            };
            group(
                by[i % by.len()],
                memory,
                order,
                p,
                &[
                    (FutilePinned, n),
                    (FutileReferenced, n / 9),
                    (Freed, n / 2),
                    (Writeback, n / 5),
                ],
            )
        })
        .collect();
    s.groups.push(group(
        Reclaimer::Damon,
        Memory::Lazyfree,
        0,
        &workers[0],
        &[(Restored, 3_000)],
    ));
    s.victims = Some(
        workers
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let n = 19_000 / (i as u64 + 1);
                (
                    p.clone(),
                    Lost {
                        mappings: n,
                        pages: n * 200,
                    },
                )
            })
            .collect(),
    );
    s.subscribers = Some(vec![
        Subscriber {
            symbol: "interval notifiers".to_owned(),
            calls: 41_000,
            ns: 900_000_000,
            shared_calls: 12_000,
        },
        Subscriber {
            symbol: "kvm_mmu_notifier_invalidate_range_start".to_owned(),
            calls: 12_000,
            ns: 300_000_000,
            shared_calls: 12_000,
        },
    ]);
    s.unmap_ns = BTreeMap::from([(FutilePinned, histogram(&times(19_500, 31_000)))]);
    s.notifier_ns = Some(BTreeMap::from([(
        FutilePinned,
        histogram(&times(19_500, 22_000)),
    )]));
    s.excess = histogram(&[
        (1, 800),
        (3, 90),
        (17, 4),
        (512, 8_400),
        (1_024, 9_000),
        (3_072, 1_206),
    ]);
    s.per_folio = histogram(&[(1, 4_000), (2, 2_500), (7, 900), (33, 12), (160, 1)]);
    s.hooks = hooks(43_000);
    s.hooks[2].missed = Some(17);
    s.lost.victims = 230;
    s.lost.groups = 4;
    s.lost.events = 9;
    s
}

/// One futile unmap.
pub(crate) fn event() -> Event {
    Event {
        elapsed: 1.25,
        verdict: Verdict::FutilePinned.into(),
        reclaimer: Reclaimer::Kswapd.into(),
        reclaimer_tid: 77,
        reclaimer_comm: "kswapd0".to_owned(),
        memory: Memory::Shmem.into(),
        order: 0,
        victim: Some(process(212, "gpu-trainer", "/train.slice")),
        address: Some(0x7f12_3456_7000),
        excess: 1024,
        refcount: 1026,
        mappings: 1,
        times: Some(3),
        notifier_calls: Some(1),
        notifier_ns: Some(4_100),
        unmap_ns: 7_900,
    }
}
