//! Findings on what reclaim does: causes first, then their costs.

use probe_ebpf::{Hook, Verdict};

use super::{
    answer::{FEW_UNMAPS, is_waste},
    digest::{Facts, name, sentence},
};
use crate::model::{
    capture::{Finding, Group, Severity, Tally},
    wording,
};

/// Half of all unmaps in vain: reclaim now does more useless than useful work.
const CRITICAL_SHARE: f64 = 0.5;
/// And 4 MiB of them, lest a short test be called critical.
const CRITICAL_FOLIOS: u64 = 1024;
/// A folio unmapped in vain this often is met again and again, not twice by chance.
const AGAIN: f64 = 3.0;
/// Notifier time from which it is a cost worth a warning: 1 % of one CPU.
const NOTIFIER_CPU_SHARE: f64 = 0.01;
/// One unmap that is held up this long by a notifier is a stall that tasks feel: 1 ms.
const NOTIFIER_STALL_SECONDS: f64 = 1e-3;
/// The part of the futile work that names a reclaimer as responsible.
const RESPONSIBLE_SHARE: f64 = 0.5;
/// The part of the futile work done by tasks that wait for memory that is worth naming.
const WAITING_SHARE: f64 = 0.1;
/// References of one pin on a small folio (GUP_PIN_COUNTING_BIAS).
const PIN: f64 = 1024.0;

/// Runs the rules.
pub(crate) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for memory in ["shmem", "file", "anon", "lazyfree", "hugetlb", "unknown"] {
        found.extend(futile_pinned(facts, memory));
    }
    found.extend(futile_referenced(facts));
    found.extend(same_folios_again(facts));
    found.extend(notifier_cost(facts));
    found.extend(restored(facts));
    found.extend(reclaimer_direct(facts));
    found.extend(proactive_wastes(facts));
    found.extend(quiet(facts));
    found
}

/// How grave so many futile unmaps are.
fn severity(facts: &Facts<'_>, futile: u64) -> Severity {
    if !is_waste(facts, futile) {
        Severity::Info
    } else if futile >= CRITICAL_FOLIOS && futile as f64 >= CRITICAL_SHARE * facts.total as f64 {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

/// `1,536 of 2,048 unmaps of shmem (6.0 MiB, 51 a second) were in vain`.
fn in_vain(facts: &Facts<'_>, tally: Tally, whole: u64, of: &str) -> String {
    format!(
        "{} of {}{of} ({}{}) {} in vain",
        wording::count(tally.folios),
        wording::counted(whole, "unmap"),
        wording::pages(tally.pages),
        facts.rate(tally.folios),
        if tally.folios == 1 { "was" } else { "were" },
    )
}

fn mapped_by(facts: &Facts<'_>, part: impl Fn(&Group) -> u64) -> String {
    facts.top_victim(part).map_or_else(String::new, |top| {
        let cgroup = top
            .of
            .cgroup
            .as_ref()
            .map(|c| format!(" in cgroup {c}"))
            .unwrap_or_default();
        format!(
            " {} had been mapped by {}{cgroup}.",
            sentence(&top.quantity()),
            name(top.of)
        )
    })
}

fn folios(g: &Group, verdict: Verdict) -> u64 {
    g.by_verdict.get(verdict).map_or(0, |t| t.folios)
}

fn futile_pinned(facts: &Facts<'_>, memory: &str) -> Option<Finding> {
    let here = |g: &Group| g.memory == memory;
    let tally = facts.tally(Verdict::FutilePinned, here);
    if tally.folios == 0 {
        return None;
    }
    let whole = facts
        .groups()
        .filter(|g| here(g))
        .fold(0, |n: u64, g| n.saturating_add(g.total().folios));
    let small = facts
        .tally(Verdict::FutilePinned, |g| here(g) && g.order == 0)
        .folios;
    let word = match small {
        0 => "pinned",
        n if n < tally.folios => "pinned or maybe pinned",
        _ => "maybe pinned",
    };
    let of = if memory == "unknown" {
        String::new()
    } else {
        format!(" of {memory}")
    };
    let text = format!(
        "{}: the folios are {word}, and reclaim kept them.{}",
        in_vain(facts, tally, whole, &of),
        mapped_by(facts, |g| if here(g) {
            folios(g, Verdict::FutilePinned)
        } else {
            0
        }),
    );
    let advice = match memory {
        "shmem" => {
            "Take the memory off the LRU for as long as a device uses it: mlock it, or use \
             hugetlb, which reclaim never scans. Against pressure from outside its cgroup \
             memory.min or memory.low helps too; against the cgroup's own limit or \
             memory.reclaim it doesn't. Reclaim, in the kernels from 5.10 to 7.2, looks at a small \
             shmem folio's references only after the unmap."
        }
        "file" => {
            "mlock the mapping for as long as a device uses it. Reclaim, in the kernels from 5.10 \
             to 7.2, looks at the references of file pages only after the unmap."
        }
        "anon" => {
            "Reclaim skips pinned anonymous memory before the unmap, unless it is in the swap \
             cache already. mlock it before it is pinned, so that it never gets there."
        }
        "lazyfree" => "Don't give memory to MADV_FREE while a device uses it.",
        _ => "Take the memory off the LRU for as long as a device uses it: mlock it.",
    };
    Some(Finding::new(
        format!("futile-pinned-{memory}"),
        severity(facts, tally.folios),
        text,
        advice,
    ))
}

fn futile_referenced(facts: &Facts<'_>) -> Option<Finding> {
    let tally = facts.tally(Verdict::FutileReferenced, |_| true);
    if tally.folios == 0 {
        return None;
    }
    let kinds = kinds(facts, Verdict::FutileReferenced);
    let text = format!(
        "{}: somebody holds references that are not pins.{kinds}{}",
        in_vain(facts, tally, facts.total, ""),
        mapped_by(facts, |g| folios(g, Verdict::FutileReferenced)),
    );
    Some(Finding::new(
        "futile-referenced",
        severity(facts, tally.folios),
        text,
        "Look for memory in pipes (vmsplice), get_user_pages without a pin (O_DIRECT on 6.1 and \
         older), I/O in flight, and folios still in per-CPU batches. A test for pins before the \
         unmap would not have spared these: only counting the references would.",
    ))
}

/// ` Memory: anon, shmem.`: the kinds of memory with `verdict`.
fn kinds(facts: &Facts<'_>, verdict: Verdict) -> String {
    let mut kinds: Vec<&str> = facts
        .groups()
        .filter(|g| folios(g, verdict) > 0)
        .map(|g| g.memory.as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        String::new()
    } else {
        format!(" Memory: {}.", kinds.join(", "))
    }
}

fn same_folios_again(facts: &Facts<'_>) -> Option<Finding> {
    let h = facts.capture.histograms.unmaps_per_folio.as_ref()?;
    let max = h.max?.0;
    // Buckets this small hold one value each.
    let often = h.buckets.iter().filter(|(upper, _)| upper.0 >= AGAIN);
    let again = often.fold(0, |n: u64, (_, folios)| n.saturating_add(*folios));
    if h.count < FEW_UNMAPS || again == 0 {
        return None;
    }
    let most = again.saturating_mul(2) >= h.count;
    let severity = if most && is_waste(facts, facts.futile) {
        Severity::Warning
    } else {
        Severity::Info
    };
    let worst = if max > AGAIN {
        format!(" or more, the worst {} times", wording::count(max as u64))
    } else {
        String::new()
    };
    let text = format!(
        "{} of the {} that were unmapped in vain were so {AGAIN} times{worst}.",
        wording::count(again),
        wording::counted(h.count, "folio"),
    );
    Some(Finding::new(
        "same-folios-again",
        severity,
        text,
        "Round after round finds the same memory held. Each pays again: for the unmap, the \
         notifiers, and the faults that mapped the folio back before.",
    ))
}

fn notifier_cost(facts: &Facts<'_>) -> Option<Finding> {
    let calls = facts.capture.notifier.in_futile.filter(|n| *n > 0)?;
    let h = facts
        .capture
        .histograms
        .notifier_seconds
        .as_ref()
        .filter(|h| h.count > 0)?;
    let seconds = facts.capture.window.seconds;
    let stalls = h.p99.is_some_and(|p| p.0 >= NOTIFIER_STALL_SECONDS);
    let busy = seconds > 0.0 && h.sum.0 >= NOTIFIER_CPU_SHARE * seconds;
    let severity = if calls >= FEW_UNMAPS && (stalls || busy) {
        Severity::Warning
    } else {
        Severity::Info
    };
    let (p50, max) = (h.p50.unwrap_or_default().0, h.max.unwrap_or_default().0);
    let text = format!(
        "Futile unmaps called MMU notifiers {} and spent {} there: in the median {} an unmap, at \
         worst {}.{}",
        if calls == 1 {
            "once".to_owned()
        } else {
            format!("{} times", wording::count(calls))
        },
        wording::duration(h.sum.0),
        wording::duration(p50),
        wording::duration(max),
        listeners(facts),
    );
    let kvm = facts
        .capture
        .subscribers
        .iter()
        .flatten()
        .any(|s| s.symbol.starts_with("kvm_"));
    let interval = facts
        .capture
        .subscribers
        .iter()
        .flatten()
        .any(|s| s.symbol == "interval notifiers");
    let mut advice = String::from("Each call makes its subscriber let go of the pages.");
    if kvm {
        advice.push_str(
            " KVM takes those that a guest uses out of its second-level page tables (EPT, \
             NPT), and vCPUs fault them in again.",
        );
    }
    if interval {
        advice.push_str(
            " Interval notifiers belong to drivers that follow user memory, as RDMA on demand \
             and GPUs do: a device may stop until the call is through.",
        );
    }
    advice.push_str(" The cost ends with the futile unmaps.");
    Some(Finding::new("notifier-cost", severity, text, advice))
}

/// Who listens, the costliest first.
fn listeners(facts: &Facts<'_>) -> String {
    let Some(all) = facts.capture.subscribers.as_ref().filter(|s| !s.is_empty()) else {
        return String::new();
    };
    let names: Vec<&str> = all.iter().take(3).map(|s| s.symbol.as_str()).collect();
    let more = all.len().saturating_sub(names.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(" Subscribed: {}{more}.", names.join(", "))
}

fn restored(facts: &Facts<'_>) -> Option<Finding> {
    let tally = facts.tally(Verdict::Restored, |_| true);
    if tally.folios == 0 {
        return None;
    }
    let worth = facts.total >= FEW_UNMAPS && is_waste(facts, tally.folios);
    let lazyfree = facts
        .tally(Verdict::Restored, |g| g.memory == "lazyfree")
        .folios;
    let anon = facts
        .tally(Verdict::Restored, |g| g.memory == "anon")
        .folios;
    let mut causes = Vec::new();
    if lazyfree > 0 {
        causes.push(format!(
            "{} of lazyfree memory, which is put back if it is referenced or was written again",
            wording::count(lazyfree)
        ));
    }
    if anon > 0 {
        causes.push(format!(
            "{} of anonymous memory, which from 6.1 on is put back if it is pinned and exclusive",
            wording::count(anon)
        ));
    }
    let causes = if causes.is_empty() {
        String::new()
    } else {
        format!(": {}", causes.join("; "))
    };
    let calls = facts
        .capture
        .unmaps
        .by_verdict
        .get(Verdict::Restored)
        .copied()
        .flatten();
    let notified = calls
        .and_then(|t| t.notifier_calls)
        .filter(|n| *n > 0)
        .map(|n| {
            format!(
                " {} came of it for nothing.",
                wording::counted(n, "notifier call")
            )
        })
        .unwrap_or_default();
    Some(Finding::new(
        "restored",
        if worth {
            Severity::Warning
        } else {
            Severity::Info
        },
        format!(
            "{} of {} left a mapping in place{causes}.{notified}",
            wording::count(tally.folios),
            wording::counted(facts.total, "unmap"),
        ),
        "Not futile by name, yet as vain. Memory that a device uses is better neither given to \
         MADV_FREE nor left for reclaim to find: mlock it.",
    ))
}

fn reclaimer_direct(facts: &Facts<'_>) -> Option<Finding> {
    let direct = facts.futile_in(|g| g.reclaimer == "direct");
    let memcg = facts.futile_in(|g| g.reclaimer == "memcg");
    let waiting = direct.saturating_add(memcg);
    if waiting < FEW_UNMAPS || (waiting as f64) < WAITING_SHARE * facts.futile as f64 {
        return None;
    }
    let by = match (direct, memcg) {
        (_, 0) => "by direct reclaim",
        (0, _) => "at a cgroup's limit",
        _ => "by direct reclaim or at a cgroup's limit",
    };
    let severity = if is_waste(facts, waiting) {
        Severity::Warning
    } else {
        Severity::Info
    };
    Some(Finding::new(
        "reclaimer-direct",
        severity,
        format!(
            "{} of the {} futile unmaps ({}) were done {by}, where the task that asks for memory \
             reclaims it itself.",
            wording::count(waiting),
            wording::count(facts.futile),
            wording::share(waiting, facts.futile),
        ),
        "Their time is latency of those tasks (but for memory.high, part of which a kernel \
         worker does). Room below the limit, or less pinned memory under it, takes it away.",
    ))
}

fn proactive_wastes(facts: &Facts<'_>) -> Option<Finding> {
    const ASKED: [(&str, &str); 3] = [
        (
            "proactive",
            "Leave this cgroup out of what writes memory.reclaim, or ask it for less: \
          pinned pages can't be had.",
        ),
        (
            "damon",
            "Change the DAMOS scheme: filter this cgroup or address range out. Pinned \
          pages can't be had.",
        ),
        (
            "madvise",
            "The program asks for the reclaim of memory that is held. Don't call \
          MADV_PAGEOUT on it while a device uses it.",
        ),
    ];
    let (word, asked, advice) = ASKED
        .into_iter()
        .map(|(word, advice)| (word, facts.futile_in(|g| g.reclaimer == word), advice))
        .max_by_key(|(_, n, _)| *n)?;
    if !is_waste(facts, asked) || (asked as f64) < RESPONSIBLE_SHARE * facts.futile as f64 {
        return None;
    }
    let all = facts
        .groups()
        .filter(|g| g.reclaimer == word)
        .fold(0, |n: u64, g| n.saturating_add(g.total().folios));
    Some(Finding::new(
        "proactive-wastes",
        Severity::Warning,
        format!(
            "{} of {} for {} ({}) were in vain. Nothing forced this reclaim: it was asked for.",
            wording::count(asked),
            wording::counted(all, "unmap"),
            super::digest::reclaimer(word),
            wording::share(asked, all),
        ),
        advice,
    ))
}

/// Nothing futile: either reclaim worked well, or it didn't work at all.
fn quiet(facts: &Facts<'_>) -> Option<Finding> {
    match (facts.capture.unmaps.total?, facts.futile) {
        (0, _) => Some(Finding::new(
            "no-reclaim",
            Severity::Info,
            "No unmap was seen: reclaim did not touch mapped memory.",
            "Capture while memory is short, for longer, or around a workload: pinscope capture \
             -- CMD. Reclaim of page cache that nobody maps needs no unmap and isn't shown.",
        )),
        (total, 0) if total >= FEW_UNMAPS && facts.folios(Verdict::Undecided) == 0 => {
            Some(Finding::new(
                "all-quiet",
                Severity::Info,
                format!("{} and not one in vain.", wording::counted(total, "unmap")),
                "Nothing to do.",
            ))
        }
        _ => None,
    }
}

/// Whether every futile folio had the references of at least one pin too many.
pub(crate) fn whole_pins(facts: &Facts<'_>) -> bool {
    let excess = facts.capture.histograms.excess_references.as_ref();
    facts.measured.by(Hook::Unmap) && excess.and_then(|h| h.min).is_some_and(|min| min.0 >= PIN)
}
