//! Derives a capture: the difference of two snapshots.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use probe_ebpf::{Hook, Verdict};

pub(crate) use self::rows::{GroupRow, rows};
use self::rows::{add, newer, process_key, tallies, total};

use super::{
    capture::{
        Accuracy, Answer, ByVerdict, Capture, EventRecord, Group, HistogramReport, Histograms,
        Incomplete, LostReport, Notifier, SCHEMA, Subscriber, Tally, Unit, Unmaps, VerdictTotal,
        Victim, Who, Window, event::seconds, histogram,
    },
    judge,
    measured::{self, Measured},
};
use crate::{
    snapshot::{self, Counts, Event, Histogram, HookStatus, Host, LostCounts, SelfCost, Snapshot},
    words::Word,
};

impl Capture {
    /// Derives what happened between two snapshots; without `first`, since the probes were
    /// attached.
    ///
    /// `unmaps_per_folio` is not a difference: a folio moves from bucket to bucket as it is
    /// unmapped again, so the histogram always shows all folios since the attach. The capture
    /// has the key `events` only if there are any.
    pub fn between(
        host: &Host,
        window: Window,
        first: Option<&Snapshot>,
        last: &Snapshot,
        events: &[Event],
    ) -> Capture {
        let measured = Measured::new(&last.hooks);
        let rows = rows(measured, first, last);
        let unmaps = unmaps(measured, &rows);
        let lost = lost(first, last);
        let groups = measured.by(Hook::Unmap).then(|| groups(measured, &rows));
        let accuracy = Accuracy {
            maybe_pinned_folios: groups.iter().flatten().fold(0, |n, g| {
                let small = (g.order == 0).then(|| g.by_verdict.get(Verdict::FutilePinned));
                small.flatten().map_or(n, |t| t.folios.saturating_add(n))
            }),
            ..Accuracy::default()
        };
        let mut capture = Capture {
            schema: SCHEMA.to_owned(),
            host: host.clone(),
            window: Window {
                seconds: finite(window.seconds).unwrap_or(0.0).max(0.0),
                start: window.start,
            },
            answer: Answer::default(),
            hooks: hooks(first, last),
            lost,
            in_flight: last.in_flight,
            unmaps,
            notifier: notifier(measured, &rows),
            histograms: histograms(measured, first, last),
            groups,
            victims: victims(measured, first, last),
            subscribers: subscribers(measured, first, last),
            findings: Vec::new(),
            not_measured: measured::not_measured(&last.hooks),
            weaker: measured::weaker(&last.hooks),
            accuracy,
            cost: cost(first, last),
            events: (!events.is_empty()).then(|| events.iter().map(EventRecord::from).collect()),
            events_omitted: 0,
            incomplete: None,
        };
        capture.answer = judge::answer(&capture);
        capture.findings = judge::findings(&capture);
        capture
    }

    /// Adds what the capture lacks: the number of events that were left out, and why its recording
    /// is incomplete, if it is. Every report then says so.
    #[must_use]
    pub fn lacking(mut self, events_omitted: u64, incomplete: Option<&str>) -> Capture {
        if events_omitted > 0 || incomplete.is_some() {
            self.events_omitted = events_omitted;
            self.incomplete = incomplete.map(|reason| Incomplete {
                reason: reason.to_owned(),
            });
            self.findings = judge::findings(&self);
        }
        self
    }
}

/// The totals of all rows, by verdict and overall.
pub(crate) fn unmaps(measured: Measured, rows: &[GroupRow]) -> Unmaps {
    let mut all = Tally::default();
    let known = measured.by(Hook::Unmap);
    let mut by_verdict = ByVerdict::default();
    let mut count = |c: &Counts| {
        all.folios = all.folios.saturating_add(c.folios);
        all.pages = all.pages.saturating_add(c.pages);
        VerdictTotal {
            folios: c.folios,
            pages: c.pages,
            notifier_calls: measured.by(Hook::NotifierStart).then_some(c.notifier_calls),
        }
    };
    for (word, c) in newer(rows) {
        let counted = count(&c);
        by_verdict.set(Word::Newer(word), known.then_some(counted));
    }
    for verdict in Verdict::ALL {
        let c = total(rows, verdict);
        let counted = count(&c);
        let value = measured.verdict(verdict).then_some(counted);
        if verdict != Verdict::Undecided || (value.is_some() && c.folios > 0) {
            by_verdict.set(verdict, value);
        }
    }
    Unmaps {
        total: known.then_some(all.folios),
        pages: known.then_some(all.pages),
        by_verdict,
    }
}

/// Notifier calls and their time.
pub(crate) fn notifier(measured: Measured, rows: &[GroupRow]) -> Notifier {
    if !(measured.by(Hook::Unmap) && measured.by(Hook::NotifierStart)) {
        return Notifier::default();
    }
    let mut all = Counts::default();
    let mut futile = Counts::default();
    for verdict in Verdict::ALL {
        let c = total(rows, verdict);
        add(&mut all, &c);
        if verdict.is_futile() {
            add(&mut futile, &c);
        }
    }
    for c in newer(rows).values() {
        add(&mut all, c);
    }
    Notifier {
        calls: Some(all.notifier_calls),
        in_futile: Some(futile.notifier_calls),
        seconds: Some(seconds(all.notifier_ns)),
    }
}

fn groups(measured: Measured, rows: &[GroupRow]) -> Vec<Group> {
    let mut groups: Vec<Group> = rows
        .iter()
        .map(|row| Group {
            road: row.name.road.clone(),
            reclaimer: row.name.reclaimer.clone(),
            memory: row.name.memory.clone(),
            order: row.name.order,
            victim: row.name.victim.clone(),
            by_verdict: tallies(row),
            notifier_calls: measured.by(Hook::NotifierStart).then(|| {
                row.all()
                    .fold(0, |n: u64, c| n.saturating_add(c.notifier_calls))
            }),
        })
        .collect();
    // Stable: equals stay in the order of the rows.
    groups.sort_by_key(|g| std::cmp::Reverse((g.futile().pages, g.total().pages)));
    groups
}

fn victims(measured: Measured, first: Option<&Snapshot>, last: &Snapshot) -> Option<Vec<Victim>> {
    if !(measured.by(Hook::Unmap) && measured.by(Hook::UnmapOne)) {
        return None;
    }
    let before: BTreeMap<_, _> = first
        .iter()
        .flat_map(|s| s.victims.iter().flatten())
        .map(|(p, lost)| (process_key(p), *lost))
        .collect();
    let now = last.victims.as_ref()?;
    // What processes had lost that are no longer there is with the others now, where it is no
    // increase.
    let there: BTreeSet<_> = now.iter().map(|(p, _)| process_key(p)).collect();
    let mut moved = snapshot::Lost::default();
    for (_, lost) in before.iter().filter(|(key, _)| !there.contains(*key)) {
        moved.mappings = moved.mappings.saturating_add(lost.mappings);
        moved.pages = moved.pages.saturating_add(lost.pages);
    }
    let mut sums: BTreeMap<Who, snapshot::Lost> = BTreeMap::new();
    for (p, lost) in now {
        let mut earlier = before.get(&process_key(p)).copied().unwrap_or_default();
        if p.is_others() {
            earlier.mappings = earlier.mappings.saturating_add(moved.mappings);
            earlier.pages = earlier.pages.saturating_add(moved.pages);
        }
        let sum = sums.entry(Who::from(p)).or_default();
        let mappings = lost.mappings.saturating_sub(earlier.mappings);
        sum.mappings = sum.mappings.saturating_add(mappings);
        sum.pages = sum
            .pages
            .saturating_add(lost.pages.saturating_sub(earlier.pages));
    }
    let mut victims: Vec<Victim> = sums
        .into_iter()
        .filter(|(_, lost)| lost.mappings > 0)
        .map(|(who, lost)| Victim {
            who,
            mappings: lost.mappings,
            pages: lost.pages,
        })
        .collect();
    victims.sort_by_key(|v| std::cmp::Reverse((v.pages, v.mappings)));
    Some(victims)
}

fn subscribers(
    measured: Measured,
    first: Option<&Snapshot>,
    last: &Snapshot,
) -> Option<Vec<Subscriber>> {
    if !(measured.by(Hook::Unmap) && measured.by(Hook::NotifierStart)) {
        return None;
    }
    let mut sums: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for s in last.subscribers.as_ref()? {
        let sum = sums.entry(&s.symbol).or_default();
        for (to, n) in sum.iter_mut().zip([s.calls, s.ns, s.shared_calls]) {
            *to = to.saturating_add(n);
        }
    }
    for s in first.iter().flat_map(|s| s.subscribers.iter().flatten()) {
        if let Some(sum) = sums.get_mut(s.symbol.as_str()) {
            for (to, n) in sum.iter_mut().zip([s.calls, s.ns, s.shared_calls]) {
                *to = to.saturating_sub(n);
            }
        }
    }
    let mut sums: Vec<_> = sums
        .into_iter()
        .filter(|(_, [calls, ..])| *calls > 0)
        .collect();
    sums.sort_by_key(|(_, [calls, ns, _])| std::cmp::Reverse((*ns, *calls)));
    let rows = sums
        .into_iter()
        .map(|(symbol, [calls, ns, shared_calls])| Subscriber {
            symbol: symbol.to_owned(),
            calls,
            seconds: seconds(ns),
            shared_calls,
        });
    Some(rows.collect())
}

fn histograms(measured: Measured, first: Option<&Snapshot>, last: &Snapshot) -> Histograms {
    if !measured.by(Hook::Unmap) {
        return Histograms::default();
    }
    let futile = |of: &BTreeMap<Verdict, Histogram>| {
        let get = |v| of.get(&v).cloned().unwrap_or_else(histogram::none);
        histogram::merged(&get(Verdict::FutilePinned), &get(Verdict::FutileReferenced))
    };
    let window = |now: Histogram, earlier: Option<Histogram>| match earlier {
        Some(earlier) => histogram::since(&now, &earlier),
        None => now,
    };
    let unmap = window(futile(&last.unmap_ns), first.map(|s| futile(&s.unmap_ns)));
    let notifier = last
        .notifier_ns
        .as_ref()
        .filter(|_| measured.by(Hook::NotifierStart))
        .map(|now| {
            let earlier = first.and_then(|s| s.notifier_ns.as_ref());
            window(futile(now), earlier.map(futile))
        });
    let excess = window(last.excess.clone(), first.map(|s| s.excess.clone()));
    Histograms {
        unmap_seconds: Some(HistogramReport::new(Unit::Seconds, &unmap)),
        notifier_seconds: notifier.map(|h| HistogramReport::new(Unit::Seconds, &h)),
        excess_references: Some(HistogramReport::new(Unit::References, &excess)),
        unmaps_per_folio: Some(HistogramReport::new(Unit::Unmaps, &last.per_folio)),
        refault_seconds: None,
    }
}

fn hooks(first: Option<&Snapshot>, last: &Snapshot) -> Vec<HookStatus> {
    let mut hooks = last.hooks.clone();
    for row in &mut hooks {
        let earlier = first.and_then(|s| s.hooks.iter().find(|h| h.name == row.name));
        let since =
            |now: Option<u64>, then: Option<u64>| now.map(|n| n.saturating_sub(then.unwrap_or(0)));
        row.hits = since(row.hits, earlier.and_then(|h| h.hits));
        row.missed = since(row.missed, earlier.and_then(|h| h.missed));
    }
    hooks
}

fn lost(first: Option<&Snapshot>, last: &Snapshot) -> LostReport {
    let (now, then) = (last.lost, first.map(|s| s.lost).unwrap_or_default());
    let by_map = LostCounts {
        tasks: now.tasks.saturating_sub(then.tasks),
        groups: now.groups.saturating_sub(then.groups),
        victims: now.victims.saturating_sub(then.victims),
        mappings: now.mappings.saturating_sub(then.mappings),
        folios: now.folios.saturating_sub(then.folios),
        subscribers: now.subscribers.saturating_sub(then.subscribers),
        events: now.events.saturating_sub(then.events),
        events_over_budget: now
            .events_over_budget
            .saturating_sub(then.events_over_budget),
        reads: now.reads.saturating_sub(then.reads),
    };
    let keys = [
        by_map.tasks,
        by_map.groups,
        by_map.victims,
        by_map.mappings,
        by_map.folios,
        by_map.subscribers,
    ];
    LostReport {
        events: by_map.events,
        keys: keys.into_iter().fold(0, u64::saturating_add),
        by_map,
    }
}

fn finite(v: f64) -> Option<f64> {
    v.is_finite().then_some(v)
}

fn cost(first: Option<&Snapshot>, last: &Snapshot) -> SelfCost {
    let then = first.map(|s| s.cost).unwrap_or_default();
    let since = |now: Option<f64>, then: Option<f64>| {
        now.and_then(|n| finite((n - then.unwrap_or(0.0)).max(0.0)))
    };
    SelfCost {
        bpf_seconds: since(last.cost.bpf_seconds, then.bpf_seconds),
        bpf_runs: last
            .cost
            .bpf_runs
            .map(|n| n.saturating_sub(then.bpf_runs.unwrap_or(0))),
        cpu_seconds: since(last.cost.cpu_seconds, then.cpu_seconds),
        rss_bytes: last.cost.rss_bytes,
    }
}
