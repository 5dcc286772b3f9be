//! What is true of every capture: its counts add up.

use pinscope::{
    kernel::host::preempts,
    model::{Capture, HistogramReport, capture::Tally},
    snapshot::{Attach, HookState},
};
use probe_ebpf::Verdict;
use serde_json::Value;

use crate::support::{Check, futile, meets};

const SCHEMA: &str = include_str!("../../schema/pinscope.capture-1.schema.json");

/// Whether calls may be missed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missed {
    /// No call may be missed.
    Never,
    /// Calls may be missed if the capture reports how many. On a preemptible kernel, a task may be
    /// preempted inside an fentry program by another task that reclaims; the kernel doesn't run
    /// the same program twice on one CPU.
    Reported,
}

/// Returns the number of missed calls of a hook.
pub(crate) fn missed(capture: &Capture, name: &str) -> u64 {
    let row = capture.hooks.iter().find(|h| h.name == name);
    row.and_then(|h| h.missed).unwrap_or(0)
}

/// Returns whether programs may be skipped: with fentry, on a kernel that preempts its own code.
fn preemptible(capture: &Capture) -> bool {
    let fentry = capture
        .hooks
        .iter()
        .any(|h| h.attach == Some(Attach::Fentry));
    fentry && preempts() != Some(false)
}

/// Complains about everything that doesn't add up.
pub(crate) fn check(capture: &Capture, json: &Value, may_miss: Missed, check: &mut Check) {
    meets(SCHEMA, json, check);
    let unmaps = &capture.unmaps;
    let verdicts: Vec<_> = unmaps.by_verdict.iter().collect();
    let all = verdicts.iter().filter_map(|(_, total)| total.as_ref());
    let (folios, pages) = all.fold((0, 0), |(f, p), t| (f + t.folios, p + t.pages));
    check.same("sum of the verdicts' folios", Some(folios), unmaps.total);
    check.same("sum of the verdicts' pages", Some(pages), unmaps.pages);
    if let Some(groups) = &capture.groups {
        for verdict in Verdict::ALL {
            let sum = groups
                .iter()
                .filter_map(|g| g.by_verdict.get(verdict))
                .fold(Tally::default(), |a, b| Tally {
                    folios: a.folios + b.folios,
                    pages: a.pages + b.pages,
                });
            let total = unmaps.by_verdict.total_of(verdict);
            let total = total.map_or(Tally::default(), |t| Tally {
                folios: t.folios,
                pages: t.pages,
            });
            check.same(
                &format!("sum of {} over the groups", verdict.name()),
                sum,
                total,
            );
        }
    }
    notifier(capture, check);
    histograms(capture, check);
    victims(capture, check);

    check.same("lost.events", capture.lost.events, 0);
    check.same("lost.keys", capture.lost.keys, 0);
    check.same("failed reads", capture.lost.by_map.reads, 0);
    if may_miss == Missed::Never {
        check.same("in_flight", capture.in_flight, 0);
    }
    for hook in &capture.hooks {
        let name = &hook.name;
        if hook.state == HookState::Active {
            check.that(hook.attach.is_some(), || format!("{name}: no attach mode"));
            check.that(hook.hits.is_some(), || format!("{name}: no hits"));
            let missed = hook.missed.unwrap_or(0);
            check.that(missed == 0 || may_miss == Missed::Reported, || {
                format!("{name}: missed {missed}")
            });
        } else {
            check.that(hook.reason.is_some(), || format!("{name}: no reason"));
            check.same(&format!("{name}: hits"), hook.hits, None);
        }
    }
    let hits = |name: &str| {
        let row = capture.hooks.iter().find(|h| h.name == name);
        row.and_then(|h| h.hits)
    };
    check.same(
        "hits of try_to_unmap and unmaps",
        hits("try_to_unmap"),
        unmaps.total,
    );
    check.same(
        "hits of notifier_start and notifier calls",
        hits("notifier_start"),
        capture.notifier.calls,
    );
}

fn notifier(capture: &Capture, check: &mut Check) {
    let notifier = &capture.notifier;
    let of = |verdict: Verdict| {
        let total = capture.unmaps.by_verdict.total_of(verdict);
        total.and_then(|t| t.notifier_calls).unwrap_or(0)
    };
    let groups = capture.groups.iter().flatten();
    if notifier.calls.is_none() {
        check.same("notifier.in_futile", notifier.in_futile, None);
        check.same("notifier.seconds", notifier.seconds, None);
        for group in groups {
            check.same("a group's notifier calls", group.notifier_calls, None);
        }
        return;
    }
    let sum = groups.filter_map(|g| g.notifier_calls).sum();
    check.same("notifier calls over the groups", Some(sum), notifier.calls);
    let sum = Verdict::ALL.into_iter().map(of).sum();
    check.same(
        "notifier calls over the verdicts",
        Some(sum),
        notifier.calls,
    );
    let in_futile = of(Verdict::FutilePinned) + of(Verdict::FutileReferenced);
    check.same("notifier.in_futile", notifier.in_futile, Some(in_futile));
    check.that(notifier.seconds.is_some_and(|s| s >= 0.0), || {
        format!("notifier.seconds is {:?}", notifier.seconds)
    });
    if let Some(subscribers) = &capture.subscribers {
        // Subscribers that share a call count it once each.
        let sum: u64 = subscribers.iter().map(|s| s.calls).sum();
        check.at_least("calls over the subscribers", Some(sum), notifier.calls);
    }
}

fn histograms(capture: &Capture, check: &mut Check) {
    let futile = futile(capture);
    let histograms = &capture.histograms;
    let mut count = |name: &str, histogram: &Option<HistogramReport>, expected: u64| {
        let Some(h) = histogram else { return };
        // A missed return has no time.
        let times = name == "unmap_seconds";
        let untimed = if times {
            missed(capture, "try_to_unmap")
        } else {
            0
        };
        check.at_least(
            &format!("{name}: count"),
            h.count,
            expected.saturating_sub(untimed),
        );
        check.at_least(&format!("{name}: futile unmaps"), expected, h.count);
        let buckets = h.buckets.iter().map(|(_, n)| n).sum();
        check.same(&format!("{name}: count and buckets"), h.count, buckets);
        check.that(h.min <= h.max, || format!("{name}: min beyond max"));
    };
    count("unmap_seconds", &histograms.unmap_seconds, futile);
    count("excess_references", &histograms.excess_references, futile);
    if let Some(h) = &histograms.unmaps_per_folio {
        let sum = h.sum.0;
        check.same(
            "unmaps_per_folio: sum, and futile unmaps",
            sum,
            futile as f64,
        );
        let by_buckets: u64 = h.buckets.iter().map(|(_, n)| n).sum();
        check.same("unmaps_per_folio: count and buckets", h.count, by_buckets);
    }
}

fn victims(capture: &Capture, check: &mut Check) {
    let Some(victims) = &capture.victims else {
        for group in capture.groups.iter().flatten() {
            check.same("a group's victim", group.victim.as_ref(), None);
        }
        return;
    };
    let mappings: u64 = victims.iter().map(|v| v.mappings).sum();
    let unknown = missed(capture, "try_to_unmap_one") + missed(capture, "try_to_unmap");
    // If a program was skipped, it isn't known whether anything was unmapped.
    let unowned: u64 = capture
        .groups
        .iter()
        .flatten()
        .filter(|g| g.victim.is_none())
        .map(|g| g.futile().folios)
        .sum();
    check.that(unowned == 0 || preemptible(capture), || {
        format!("{unowned} futile unmaps without a victim")
    });
    check.at_least(
        "mappings lost to futile unmaps",
        mappings + unknown + unowned,
        futile(capture),
    );
    for victim in victims {
        let groups = capture.groups.iter().flatten();
        let counted: u64 = groups
            .filter(|g| g.victim.as_ref() == Some(&victim.who))
            .map(|g| g.futile().folios)
            .sum();
        check.at_least(
            &format!("mappings that {:?} lost", victim.who),
            victim.mappings,
            counted,
        );
    }
}
