//! Properties that every report has, whatever the snapshot.

use std::collections::BTreeMap;

use pinscope::{
    model::{Capture, Interval},
    render::{
        json::{self, lines},
        text::{Style, report},
    },
    snapshot::{
        Counts, Group, Histogram, HookState, Lost, LostCounts, Process, SelfCost, Snapshot,
        Subscriber,
    },
};
use probe_ebpf::{Memory, Reclaimer, Road, Verdict, hist};
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use crate::fixtures as f;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..5, 4 => 0u64..100_000, 1 => any::<u64>()]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z/.-]{1,15}",
        "\\PC{0,15}",
        ".{0,15}",
        "/[a-z/]{60,200}"
    ]
}

fn process() -> impl Strategy<Value = Process> {
    (
        prop_oneof![0u32..4, any::<u32>()],
        name(),
        prop::option::of(name()),
        0u64..3,
    )
        .prop_map(|(pid, comm, cgroup, cgroup_id)| Process {
            pid,
            comm,
            cgroup,
            cgroup_id,
        })
}

fn counts() -> impl Strategy<Value = Counts> {
    [number(), number(), number(), number(), number()].prop_map(
        |[folios, pages, notifier_calls, notifier_ns, unmap_ns]| Counts {
            folios,
            pages,
            notifier_calls,
            notifier_ns,
            unmap_ns,
        },
    )
}

fn group() -> impl Strategy<Value = (Group, [Counts; Verdict::COUNT])> {
    let counts = prop::collection::vec(counts(), Verdict::COUNT);
    (0u8..9, 0u8..8, 0u8..20, prop::option::of(process()), counts).prop_map(
        |(reclaimer, memory, order, victim, counts)| {
            let group = Group {
                road: Road::Reclaim.into(),
                reclaimer: Reclaimer::from_u8(reclaimer).into(),
                memory: Memory::from_u8(memory).into(),
                order,
                victim,
            };
            (group, counts.try_into().unwrap())
        },
    )
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let used = prop::collection::btree_map(0..hist::BUCKETS + 9, number(), 0..16);
    (number(), any::<Option<u64>>(), any::<Option<u64>>(), used).prop_map(
        |(sum, min, max, used)| {
            let mut buckets = vec![0; used.keys().last().map_or(0, |last| last + 1)];
            for (index, n) in used {
                buckets[index] = n;
            }
            Histogram {
                sum,
                min,
                max,
                buckets,
            }
        },
    )
}

fn by_verdict() -> impl Strategy<Value = BTreeMap<Verdict, Histogram>> {
    prop::collection::btree_map(
        prop::sample::select(Verdict::ALL.to_vec()),
        histogram(),
        0..4,
    )
}

fn cost() -> impl Strategy<Value = SelfCost> {
    let float = || prop::option::of(any::<f64>());
    (
        float(),
        prop::option::of(number()),
        float(),
        prop::option::of(number()),
    )
        .prop_map(|(bpf_seconds, bpf_runs, cpu_seconds, rss_bytes)| SelfCost {
            bpf_seconds,
            bpf_runs,
            cpu_seconds,
            rss_bytes,
        })
}

prop_compose! {
    fn snapshot()(
        elapsed in prop_oneof![0.0..1e5, any::<f64>()],
        groups in prop::collection::vec(group(), 0..8),
        newer in prop::collection::vec((group(), 0u8..3, counts()), 0..3),
        victims in prop::option::of(prop::collection::vec((process(), number(), number()), 0..20)),
        subscribers in prop::option::of(prop::collection::vec((name(), number(), number(), number()), 0..4)),
        (unmap_ns, notifier_ns) in (by_verdict(), prop::option::of(by_verdict())),
        (excess, per_folio) in (histogram(), histogram()),
        states in prop::collection::vec(0u8..8, 10),
        reason in name(),
        lost in prop::collection::vec(number(), 9),
        in_flight in number(),
        cost in cost(),
    ) -> Snapshot {
        let mut hooks = f::hooks(7);
        for (hook, state) in hooks.iter_mut().zip(states) {
            hook.state = match state {
                0 => HookState::Failed,
                1 => HookState::Unsupported,
                2 => HookState::Disabled,
                _ => HookState::Active,
            };
            hook.reason = (state < 4).then(|| reason.clone());
            hook.missed = (state > 5).then_some(lost[0]);
        }
        Snapshot {
            elapsed,
            groups,
            newer: newer
                .into_iter()
                .map(|((group, _), word, c)| (group, [(format!("newer {word}"), c)].into()))
                .collect(),
            victims: victims.map(|v| v.into_iter()
                .map(|(p, mappings, pages)| (p, Lost { mappings, pages })).collect()),
            subscribers: subscribers.map(|s| s.into_iter()
                .map(|(symbol, calls, ns, shared_calls)| Subscriber { symbol, calls, ns, shared_calls })
                .collect()),
            unmap_ns_by_reclaimer: unmap_ns
                .iter()
                .map(|(verdict, h)| ((Reclaimer::Kswapd, *verdict), h.clone()))
                .collect(),
            unmap_ns,
            notifier_ns,
            excess,
            per_folio,
            hooks,
            lost: LostCounts {
                tasks: lost[0], groups: lost[1], victims: lost[2], mappings: lost[3],
                folios: lost[4], subscribers: lost[5], events: lost[6],
                events_over_budget: lost[7], reads: lost[8],
            },
            maps: Vec::new(),
            in_flight,
            cost,
        }
    }
}

prop_compose! {
    /// A snapshot, and perhaps an earlier one.
    fn captures()(
        first in prop::option::of(snapshot()),
        last in snapshot(),
        seconds in prop_oneof![Just(30.0), any::<f64>()],
    ) -> (Capture, Snapshot) {
        let mut window = f::epoch();
        window.seconds = seconds;
        (Capture::between(&f::host(), window, first.as_ref(), &last, &[f::event()]), last)
    }
}

/// The sum of all verdicts that have a number.
fn sum(capture: &Capture) -> u64 {
    let by_verdict = &capture.unmaps.by_verdict;
    let known = by_verdict.iter().map(|(_, t)| t);
    known
        .chain(by_verdict.newer().map(|(_, t)| t))
        .fold(0, |n, t| n.saturating_add(t.map_or(0, |t| t.folios)))
}

fn null(v: &serde_json::Value) -> bool {
    v.is_null()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn text_fits((capture, _) in captures(), color: bool, ascii: bool, width in 60usize..120) {
        let text = report::report(&capture, &Style { color: false, ascii, width });
        for line in text.lines() {
            prop_assert!(line.width() <= width, "{line:?}");
            prop_assert!(!line.ends_with(' '), "{line:?}");
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        prop_assert!(!ascii || text.is_ascii());
        let colored = report::report(&capture, &Style { color, ascii, width });
        prop_assert_eq!(color, colored != text);
    }

    #[test]
    fn verdicts_are_a_partition((capture, _) in captures()) {
        prop_assert_eq!(sum(&capture), capture.unmaps.total.unwrap_or(0));
        let mut of_groups = 0u64;
        for group in capture.groups.iter().flatten() {
            prop_assert!(group.total().folios > 0);
            of_groups = of_groups.saturating_add(group.total().folios);
        }
        prop_assert_eq!(of_groups, capture.unmaps.total.unwrap_or(0));
    }

    #[test]
    fn json_comes_back((capture, _) in captures()) {
        let mut out = Vec::new();
        json::write(&mut out, &capture).unwrap();
        let written = String::from_utf8(out).unwrap();
        prop_assert_eq!(&json::read(&written).unwrap(), &capture);
        let mut out = Vec::new();
        lines::start(&mut out, &capture.host, &capture.window, &capture.hooks).unwrap();
        lines::event(&mut out, &f::event()).unwrap();
        lines::report(&mut out, &capture).unwrap();
        prop_assert_eq!(&json::read(&String::from_utf8(out).unwrap()).unwrap(), &capture);
    }

    #[test]
    fn what_no_hook_tells_is_absent((capture, _) in captures()) {
        let active = |name: &str| {
            capture.hooks.iter().any(|h| h.name == name && h.state == HookState::Active)
        };
        let json = serde_json::to_value(&capture).unwrap();
        let unmap = active("try_to_unmap");
        let notifier = unmap && active("notifier_start");
        prop_assert_eq!(null(&json["unmaps"]["total"]), !unmap);
        prop_assert_eq!(null(&json["groups"]), !unmap);
        prop_assert_eq!(null(&json["unmaps"]["by_verdict"]["freed"]), !(unmap && active("shrink_list")));
        prop_assert_eq!(null(&json["notifier"]["calls"]), !notifier);
        prop_assert!(notifier || null(&json["histograms"]["notifier_seconds"]));
        prop_assert!(active("try_to_unmap_one") || null(&json["victims"]));
        for group in json["groups"].as_array().into_iter().flatten() {
            prop_assert_eq!(null(&group["notifier_calls"]), !notifier);
            prop_assert!(active("try_to_unmap_one") || null(&group["victim"]));
            if !active("shrink_list") {
                prop_assert_eq!(&group["reclaimer"], "unknown");
            }
        }
    }

    #[test]
    fn intervals_are_written(first in snapshot(), now in snapshot()) {
        let interval = Interval::new(None, Some(&first), &now);
        let mut out = Vec::new();
        lines::interval(&mut out, &interval).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&read["type"], "interval");
        prop_assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
    }
}

#[test]
fn a_capture_without_events_does_not_list_them() {
    let json = serde_json::to_value(f::capture(&f::busy())).unwrap();
    assert!(json.get("events").is_none());
}

#[test]
fn two_snapshots_subtract() {
    let earlier = f::busy();
    let mut later = f::busy();
    later.groups[0].1[Verdict::FutilePinned as usize].folios += 10;
    later.groups[0].1[Verdict::FutilePinned as usize].notifier_calls += 11;
    // The cgroup was removed in between, and with it its path.
    later.groups[0].0.victim.as_mut().unwrap().cgroup = Some("id:1212".to_owned());
    let c = Capture::between(&f::host(), f::window(), Some(&earlier), &later, &[]);
    assert_eq!(c.unmaps.total, Some(10));
    assert_eq!(c.notifier.in_futile, Some(11));
    assert_eq!(c.groups.as_ref().unwrap().len(), 1);
    assert_eq!(c.victims, Some(Vec::new()));
    assert_eq!(c.histograms.excess_references.as_ref().unwrap().count, 0);
    // This histogram is not a difference: it covers all folios since the attach.
    assert_eq!(c.histograms.unmaps_per_folio.as_ref().unwrap().count, 560);
}
