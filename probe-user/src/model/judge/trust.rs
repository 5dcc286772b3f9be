//! Findings and sentences on how far the numbers can be trusted.

use probe_ebpf::{Hook, Verdict};

use super::{answer::FEW_UNMAPS, digest::Digest};
use crate::{
    model::{
        capture::{Capture, Finding, Severity},
        wording,
    },
    snapshot::{Attach, HookState, LostCounts},
};

/// The share of all unmaps from which losses may change the answers: 1 %.
const LOSS_SHARE: f64 = 0.01;
/// The references of one pin on a small folio (GUP_PIN_COUNTING_BIAS).
const PIN: f64 = 1024.0;

/// Runs the rules.
pub(super) fn findings(digest: &Digest<'_>) -> Vec<Finding> {
    let rules: [fn(&Digest<'_>) -> Option<Finding>; 9] = [
        incomplete,
        probably_pinned,
        undecided,
        lost_keys,
        lost_events,
        omitted_events,
        missed,
        unreadable,
        hook_missing,
    ];
    rules.into_iter().filter_map(|rule| rule(digest)).collect()
}

/// A warning from 1 % of all unmaps on.
fn by_share(digest: &Digest<'_>, n: u64) -> Severity {
    if n >= FEW_UNMAPS && n as f64 >= LOSS_SHARE * digest.total as f64 {
        Severity::Warning
    } else {
        Severity::Info
    }
}

/// Whether every futile folio had at least the references of one pin too many.
fn whole_pins(digest: &Digest<'_>) -> bool {
    let excess = digest.capture.histograms.excess_references.as_ref();
    digest.measured.by(Hook::Unmap) && excess.and_then(|h| h.min).is_some_and(|min| min.0 >= PIN)
}

fn incomplete(digest: &Digest<'_>) -> Option<Finding> {
    let reason = &digest.capture.incomplete.as_ref()?.reason;
    Some(Finding::new(
        "incomplete",
        Severity::Warning,
        format!("The recording is incomplete: {reason}."),
        "Everything here covers only the part that can be read, up to its last sample.",
    ))
}

fn probably_pinned(digest: &Digest<'_>) -> Option<Finding> {
    let guesses = digest.capture.accuracy.maybe_pinned_folios;
    if guesses == 0 {
        return None;
    }
    let (text, advice) = if whole_pins(digest) {
        (
            "every futile folio had at least 1,024 references beyond those that reclaim accounts \
             for",
            "One pin counts as 1,024 references, so pins are all but certain.",
        )
    } else {
        (
            "the kernel considers a small folio pinned from 1,024 references on",
            "The kernel decides by the same guess. A small folio with very many plain references \
             looks pinned as well. Large folios count their pins exactly.",
        )
    };
    Some(Finding::new(
        "maybe-pinned",
        Severity::Info,
        format!(
            "\"Pinned\" is a guess for {} of small folios: {text}.",
            wording::counted(guesses, "unmap")
        ),
        advice,
    ))
}

fn undecided(digest: &Digest<'_>) -> Option<Finding> {
    let n = digest.folios(Verdict::Undecided);
    if n == 0 {
        return None;
    }
    let (severity, why) = if digest.measured.by(Hook::ShrinkList) {
        (
            by_share(digest, n),
            "a probe that the verdict needs did not run, or the folio could not be read",
        )
    } else {
        (
            Severity::Info,
            "without hook shrink_list nothing shows what became of the folio",
        )
    };
    Some(Finding::new(
        "undecided",
        severity,
        format!("{} got no verdict: {why}.", wording::counted(n, "unmap")),
        "They count in the total and in no other verdict.",
    ))
}

/// What the losses of each map mean.
fn losses(lost: &LostCounts) -> Vec<String> {
    [
        (
            lost.tasks,
            "reclaim call",
            "whose unmaps are not counted at all",
        ),
        (lost.groups, "unmap", "counted under (others)"),
        (lost.victims, "mapping", "counted under (others)"),
        (
            lost.mappings,
            "mapping",
            "beyond the limit for one folio, missing from the victims",
        ),
        (lost.folios, "unmap", "missing from unmaps per folio"),
        (
            lost.subscribers,
            "notifier call",
            "counted under other subscribers",
        ),
    ]
    .into_iter()
    .filter(|(n, ..)| *n > 0)
    .map(|(n, what, meaning)| format!("{} {meaning}", wording::counted(n, what)))
    .collect()
}

fn lost_keys(digest: &Digest<'_>) -> Option<Finding> {
    let lost = &digest.capture.lost;
    if lost.keys == 0 {
        return None;
    }
    // A capture of another version may have the sum alone.
    let mut what = losses(&lost.by_map).join("; ");
    if what.is_empty() {
        what = format!("no room for {}", wording::counted(lost.keys, "key"));
    }
    let severity = if lost.by_map.tasks > 0 || lost.by_map.groups > 0 {
        Severity::Warning
    } else {
        by_share(digest, lost.keys)
    };
    Some(Finding::new(
        "lost-keys",
        severity,
        format!("Maps were full: {what}."),
        "The counts shown are correct but incomplete: read them as \"at least\".",
    ))
}

fn lost_events(digest: &Digest<'_>) -> Option<Finding> {
    let lost = digest.capture.lost.events;
    (lost > 0).then(|| {
        Finding::new(
            "lost-events",
            Severity::Info,
            format!(
                "{} found the ring buffer full.",
                wording::counted(lost, "event")
            ),
            "Only the list of individual events is incomplete: no counter depends on it.",
        )
    })
}

fn omitted_events(digest: &Digest<'_>) -> Option<Finding> {
    let omitted = digest.capture.events_omitted;
    let kept = digest.capture.events.as_ref().map_or(0, Vec::len);
    (omitted > 0).then(|| {
        Finding::new(
            "omitted-events",
            Severity::Info,
            format!(
                "The list of events has the newest {}; {} before them were left out.",
                wording::count(kept as u64),
                wording::count(omitted)
            ),
            "No counter depends on the list. A recording (--record) keeps all events.",
        )
    })
}

fn missed(digest: &Digest<'_>) -> Option<Finding> {
    let missed = |row: &crate::snapshot::HookStatus| row.missed.filter(|n| *n > 0);
    let hooks = &digest.capture.hooks;
    let worst = hooks.iter().filter_map(missed).max()?;
    let named: Vec<String> = hooks
        .iter()
        .filter_map(|row| Some(format!("{} {}", row.name, wording::count(missed(row)?))))
        .collect();
    let kretprobes = hooks
        .iter()
        .any(|row| row.attach == Some(Attach::Kprobe) && missed(row).is_some());
    let hint = if kretprobes {
        " The kernel skips kretprobes when too many calls are open at once; BTF trampolines \
         (fentry) have no such limit."
    } else {
        ""
    };
    Some(Finding::new(
        "missed",
        by_share(digest, worst),
        format!("Hooks missed calls or returns: {}.", named.join(", ")),
        format!("What they would have shown is not counted, or undecided.{hint}"),
    ))
}

fn unreadable(digest: &Digest<'_>) -> Option<Finding> {
    let reads = digest.capture.lost.by_map.reads;
    (reads > 0).then(|| {
        Finding::new(
            "unreadable",
            by_share(digest, reads),
            format!("Kernel memory could not be read {}.", wording::times(reads)),
            "The folios concerned are unknown or undecided. If this repeats, please report it \
             with the kernel's version.",
        )
    })
}

fn hook_missing(digest: &Digest<'_>) -> Option<Finding> {
    let missing: Vec<_> = Hook::ALL
        .into_iter()
        .filter(|hook| hook.entry().usually_absent.is_none())
        .filter_map(|hook| {
            digest
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
        "What depends on them is shown as \"-\", never as 0, and is listed below as not measured \
         or on weaker evidence. pinscope doctor shows what can be done, hook by hook.",
    ))
}

/// How far the numbers can be trusted, and what pinscope itself cost: one paragraph each.
pub fn reliability(capture: &Capture) -> Vec<String> {
    let lost = &capture.lost;
    let mut text = if lost.keys == 0 && lost.events == 0 {
        "No data was dropped.".to_owned()
    } else {
        format!(
            "Dropped, because maps or buffers were full: {}, {}.",
            wording::counted(lost.keys, "key"),
            wording::counted(lost.events, "event")
        )
    };
    let known: Vec<u64> = capture.hooks.iter().filter_map(|h| h.missed).collect();
    let missed = known.iter().fold(0u64, |a, b| a.saturating_add(*b));
    text.push_str(&match (known.is_empty(), missed) {
        (true, _) => " Missed calls cannot be detected here.".to_owned(),
        (_, 0) => " No missed calls detected.".to_owned(),
        (_, 1) => " One call or return was missed.".to_owned(),
        (_, n) => format!(" {} calls or returns were missed.", wording::count(n)),
    });
    if capture.in_flight > 0 && capture.unmaps.total.is_some() {
        text.push_str(&match capture.in_flight {
            1 => " At the end one task was inside reclaim: the folio it was unmapping is not \
                  counted."
                .to_owned(),
            n => format!(
                " At the end {} tasks were inside reclaim: the folios they were unmapping are \
                 not counted.",
                wording::count(n)
            ),
        });
    }
    let histogram = capture.histograms.unmap_seconds.as_ref();
    if histogram.is_some_and(|h| h.count > 0) {
        text.push_str(&format!(
            " Percentiles are accurate to {:.1} %.",
            capture.accuracy.histogram_relative_error * 100.0
        ));
    }
    let mut texts = vec![text];
    let cost = cost(capture);
    if !cost.is_empty() {
        texts.push(format!("pinscope itself: {cost}."));
    }
    texts
}

fn cost(capture: &Capture) -> String {
    let c = &capture.cost;
    let mut parts = Vec::new();
    if let Some(bpf) = c.bpf_seconds {
        let runs = c
            .bpf_runs
            .map(|n| format!(" ({})", wording::counted(n, "run")))
            .unwrap_or_default();
        let seconds = capture.window.seconds;
        let share = if seconds > 0.0 {
            format!(", {} of one CPU", wording::percent(bpf / seconds))
        } else {
            String::new()
        };
        parts.push(format!(
            "{} in its BPF programs{runs}{share}",
            wording::duration(bpf)
        ));
    }
    if let Some(cpu) = c.cpu_seconds {
        let besides = if c.bpf_seconds.is_some() {
            "of process CPU time"
        } else {
            "of process CPU time (its BPF programs are timed only on request)"
        };
        parts.push(format!("{} {besides}", wording::duration(cpu)));
    }
    if let Some(rss) = c.rss_bytes {
        parts.push(format!("{} of memory", wording::bytes(rss)));
    }
    parts.join("; ")
}
