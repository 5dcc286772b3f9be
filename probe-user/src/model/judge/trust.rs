//! Findings on how far the numbers can be trusted.

use probe_ebpf::{Hook, Verdict};

use super::{answer::FEW_UNMAPS, digest::Facts, rules};
use crate::{
    model::{
        capture::{Finding, Severity},
        wording,
    },
    snapshot::{Attach, HookState, LostCounts},
};

/// Losses beyond this part of all unmaps may change the answers: 1 %.
const LOSS_SHARE: f64 = 0.01;

/// Runs the rules.
pub(crate) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let rules: [fn(&Facts<'_>) -> Option<Finding>; 7] = [
        maybe_pinned,
        undecided,
        lost_keys,
        lost_events,
        missed,
        unreadable,
        hook_missing,
    ];
    rules.into_iter().filter_map(|rule| rule(facts)).collect()
}

/// A warning from 1 % of all unmaps on.
fn by_share(facts: &Facts<'_>, n: u64) -> Severity {
    if n >= FEW_UNMAPS && n as f64 >= LOSS_SHARE * facts.total as f64 {
        Severity::Warning
    } else {
        Severity::Info
    }
}

fn maybe_pinned(facts: &Facts<'_>) -> Option<Finding> {
    let guesses = facts.capture.accuracy.maybe_pinned_folios;
    if guesses == 0 {
        return None;
    }
    let (text, advice) = if rules::whole_pins(facts) {
        (
            "Every futile folio had 1,024 references or more beyond those that reclaim accounts \
             for",
            "One pin counts 1,024, so pins are all but certain.",
        )
    } else {
        (
            "The kernel takes a small folio for pinned from 1,024 references on",
            "The kernel decides by the same guess. A small folio with very many plain references \
             looks pinned as well; large folios count their pins exactly.",
        )
    };
    Some(Finding::new(
        "maybe-pinned",
        Severity::Info,
        format!(
            "{text}: \"pinned\" is a guess for {} of small folios.",
            wording::counted(guesses, "unmap")
        ),
        advice,
    ))
}

fn undecided(facts: &Facts<'_>) -> Option<Finding> {
    let n = facts.folios(Verdict::Undecided);
    if n == 0 {
        return None;
    }
    let (severity, why) = if facts.measured.by(Hook::ShrinkList) {
        (
            by_share(facts, n),
            "a probe that it takes didn't run, or the folio couldn't be read",
        )
    } else {
        (
            Severity::Info,
            "without hook shrink_list nothing tells what became of the folio",
        )
    };
    Some(Finding::new(
        "undecided",
        severity,
        format!("{} got no verdict: {why}.", wording::counted(n, "unmap")),
        "They count in the total and in no other verdict.",
    ))
}

/// What each map's losses mean.
fn losses(lost: &LostCounts) -> Vec<String> {
    [
        (
            lost.tasks,
            "reclaim call",
            "whose unmaps aren't counted at all",
        ),
        (lost.groups, "unmap", "missing from groups and totals"),
        (lost.victims, "mapping", "missing from the victims"),
        (
            lost.mappings,
            "mapping",
            "beyond what one folio may have, missing from the victims",
        ),
        (lost.folios, "unmap", "missing from unmaps per folio"),
        (lost.subscribers, "notifier call", "without a subscriber"),
    ]
    .into_iter()
    .filter(|(n, ..)| *n > 0)
    .map(|(n, what, meaning)| format!("{} {meaning}", wording::counted(n, what)))
    .collect()
}

fn lost_keys(facts: &Facts<'_>) -> Option<Finding> {
    let lost = &facts.capture.lost;
    if lost.keys == 0 {
        return None;
    }
    // A capture of another version may give the sum alone.
    let mut what = losses(&lost.by_map).join("; ");
    if what.is_empty() {
        what = format!(
            "{} had no room in a map",
            wording::counted(lost.keys, "key")
        );
    }
    let severity = if lost.by_map.tasks > 0 || lost.by_map.groups > 0 {
        Severity::Warning
    } else {
        by_share(facts, lost.keys)
    };
    Some(Finding::new(
        "lost-keys",
        severity,
        format!("Maps were full: {what}."),
        "What is shown is right and incomplete: read these counts as \"at least\".",
    ))
}

fn lost_events(facts: &Facts<'_>) -> Option<Finding> {
    let lost = facts.capture.lost.events;
    (lost > 0).then(|| {
        Finding::new(
            "lost-events",
            Severity::Info,
            format!("{} found the buffer full.", wording::counted(lost, "event")),
            "Only the list of single events is incomplete: no counter depends on them.",
        )
    })
}

fn missed(facts: &Facts<'_>) -> Option<Finding> {
    let hooks: Vec<String> = facts
        .capture
        .hooks
        .iter()
        .filter_map(|row| {
            let n = row.missed.filter(|n| *n > 0)?;
            Some(format!("{} {}", row.name, wording::count(n)))
        })
        .collect();
    if hooks.is_empty() {
        return None;
    }
    let worst = facts
        .capture
        .hooks
        .iter()
        .filter_map(|row| row.missed)
        .max()
        .unwrap_or(0);
    let kretprobes = facts
        .capture
        .hooks
        .iter()
        .any(|row| row.attach == Some(Attach::Kprobe) && row.missed.is_some_and(|n| n > 0));
    let hint = if kretprobes {
        " kretprobes are skipped when too many calls are open at a time; BTF trampolines (fentry) \
         are not."
    } else {
        ""
    };
    Some(Finding::new(
        "missed",
        by_share(facts, worst),
        format!("Calls or returns went unseen: {}.", hooks.join(", ")),
        format!("What they would have told is not counted, or undecided.{hint}"),
    ))
}

fn unreadable(facts: &Facts<'_>) -> Option<Finding> {
    let reads = facts.capture.lost.by_map.reads;
    (reads > 0).then(|| {
        Finding::new(
            "unreadable",
            by_share(facts, reads),
            format!(
                "Kernel memory could not be read {}.",
                if reads == 1 {
                    "once".to_owned()
                } else {
                    format!("{} times", wording::count(reads))
                }
            ),
            "What it belonged to is unknown or undecided. If this repeats, please report it with \
             the kernel's version.",
        )
    })
}

fn hook_missing(facts: &Facts<'_>) -> Option<Finding> {
    let missing: Vec<_> = Hook::ALL
        .into_iter()
        .filter(|hook| hook.entry().usually_absent.is_none())
        .filter_map(|hook| {
            facts
                .capture
                .hooks
                .iter()
                .find(|row| row.name == hook.name())
        })
        .filter(|row| matches!(row.state, HookState::Failed | HookState::Unsupported))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let grave = missing
        .iter()
        .any(|row| row.state == HookState::Failed || row.name == Hook::Unmap.name());
    let names: Vec<&str> = missing.iter().map(|row| row.name.as_str()).collect();
    Some(Finding::new(
        "hook-missing",
        if grave {
            Severity::Warning
        } else {
            Severity::Info
        },
        format!(
            "{} not attached: {}.",
            if let [_] = names[..] {
                "One hook is"
            } else {
                "Some hooks are"
            },
            names.join(", ")
        ),
        "What depends on them is shown as \"-\", never as 0; what is missing or weaker stands \
         below. pinscope doctor tells hook by hook what can be done.",
    ))
}
