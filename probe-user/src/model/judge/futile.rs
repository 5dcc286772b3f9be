//! Findings on futile unmaps: the memory they hit, and folios that they hit again and again.

use probe_ebpf::{Memory, Verdict};

use super::{
    answer::{FEW_UNMAPS, is_waste},
    digest::{Digest, name, sentence},
};
use crate::model::{
    capture::{Finding, Group, Severity, Tally},
    wording,
};

/// The share of futile unmaps from which reclaim does more useless than useful work.
const CRITICAL_SHARE: f64 = 0.5;
/// The folios from which that is critical: 4 MiB, so that a short test is not.
const CRITICAL_FOLIOS: u64 = 1024;
/// A folio unmapped this often is hit again and again, not twice by chance.
const AGAIN: f64 = 3.0;

/// The kinds of memory, in the order of their findings.
const KINDS: [Memory; 6] = [
    Memory::Shmem,
    Memory::File,
    Memory::Anon,
    Memory::Lazyfree,
    Memory::Hugetlb,
    Memory::Unknown,
];

/// Runs the rules.
pub(super) fn findings(digest: &Digest<'_>) -> Vec<Finding> {
    let pinned = KINDS.into_iter().filter_map(|kind| pinned(digest, kind));
    pinned
        .chain(referenced(digest))
        .chain(repeated(digest))
        .collect()
}

/// The severity of this number of futile unmaps.
fn severity(digest: &Digest<'_>, futile: u64) -> Severity {
    if !is_waste(digest, futile) {
        Severity::Info
    } else if futile >= CRITICAL_FOLIOS && futile as f64 >= CRITICAL_SHARE * digest.total as f64 {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

/// `1,536 of 2,048 unmaps of shmem (6.0 MiB, 51 a second) were futile`.
fn were_futile(digest: &Digest<'_>, tally: Tally, whole: u64, of: &str) -> String {
    format!(
        "{} of {}{of} ({}{}) {} futile",
        wording::count(tally.folios),
        wording::counted(whole, "unmap"),
        wording::pages(tally.pages),
        digest.rate(tally.folios),
        if tally.folios == 1 { "was" } else { "were" },
    )
}

/// ` Most (80 %) were mapped by gpu-trainer (pid 212) in cgroup /train.`
fn mapped_by(digest: &Digest<'_>, part: impl Fn(&Group) -> u64) -> String {
    digest.top_victim(part).map_or_else(String::new, |top| {
        let cgroup = top.of.cgroup.as_ref();
        let cgroup = cgroup.map_or_else(String::new, |c| format!(" in cgroup {c}"));
        format!(
            " {} were mapped by {}{cgroup}.",
            sentence(&top.quantity()),
            name(top.of)
        )
    })
}

fn folios(g: &Group, verdict: Verdict) -> u64 {
    g.by_verdict.get(verdict).map_or(0, |t| t.folios)
}

fn pinned(digest: &Digest<'_>, memory: Memory) -> Option<Finding> {
    let here = |g: &Group| g.memory == memory;
    let tally = digest.tally(Verdict::FutilePinned, here);
    if tally.folios == 0 {
        return None;
    }
    let whole = digest
        .groups()
        .filter(|g| here(g))
        .fold(0, |n: u64, g| n.saturating_add(g.total().folios));
    let small = digest
        .tally(Verdict::FutilePinned, |g| here(g) && g.order == 0)
        .folios;
    let word = match small {
        0 => "pinned",
        n if n < tally.folios => "pinned or probably pinned",
        _ => "probably pinned",
    };
    let of = match memory {
        Memory::Unknown => String::new(),
        _ => format!(" of {}", memory.name()),
    };
    let text = format!(
        "{}: the folios are {word}, and reclaim kept them.{}",
        were_futile(digest, tally, whole, &of),
        mapped_by(digest, |g| if here(g) {
            folios(g, Verdict::FutilePinned)
        } else {
            0
        }),
    );
    let advice = match memory {
        Memory::Shmem => {
            "Take the memory off the LRU while a device uses it: mlock it, or use hugetlb, which \
             reclaim never scans. memory.min and memory.low help against pressure from outside \
             the cgroup, but not against the cgroup's own limit or memory.reclaim. From 5.10 to \
             7.2, reclaim checks the references of a small shmem folio only after the unmap."
        }
        Memory::File => {
            "mlock the mapping while a device uses it. From 5.10 to 7.2, reclaim checks the \
             references of file pages only after the unmap."
        }
        Memory::Anon => {
            "Reclaim skips pinned anonymous memory before the unmap, unless it is already in the \
             swap cache. mlock it before it is pinned, so that it never gets there."
        }
        Memory::Lazyfree => "Do not give memory to MADV_FREE while a device uses it.",
        Memory::Hugetlb | Memory::Unknown => {
            "Take the memory off the LRU while a device uses it: mlock it."
        }
    };
    Some(Finding::new(
        format!("futile-pinned-{}", memory.name()),
        severity(digest, tally.folios),
        text,
        advice,
    ))
}

fn referenced(digest: &Digest<'_>) -> Option<Finding> {
    let tally = digest.tally(Verdict::FutileReferenced, |_| true);
    if tally.folios == 0 {
        return None;
    }
    let text = format!(
        "{}: somebody holds references that are not pins.{}{}",
        were_futile(digest, tally, digest.total, ""),
        kinds(digest, Verdict::FutileReferenced),
        mapped_by(digest, |g| folios(g, Verdict::FutileReferenced)),
    );
    Some(Finding::new(
        "futile-referenced",
        severity(digest, tally.folios),
        text,
        "Look for memory in pipes (vmsplice), get_user_pages without a pin (O_DIRECT on 6.1 and \
         older), I/O in flight, and folios in per-CPU batches. A check for pins before the unmap \
         would not have avoided these unmaps; counting the references would have.",
    ))
}

/// ` Memory: anon, shmem.`: the kinds of memory with `verdict`.
fn kinds(digest: &Digest<'_>, verdict: Verdict) -> String {
    let mut kinds: Vec<&str> = digest
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

fn repeated(digest: &Digest<'_>) -> Option<Finding> {
    let h = digest.capture.histograms.unmaps_per_folio.as_ref()?;
    let max = h.max?.0;
    // Buckets this small hold one value each.
    let often = h.buckets.iter().filter(|(upper, _)| upper.0 >= AGAIN);
    let again = often.fold(0, |n: u64, (_, folios)| n.saturating_add(*folios));
    if h.count < FEW_UNMAPS || again == 0 {
        return None;
    }
    let most = again.saturating_mul(2) >= h.count;
    let severity = if most && is_waste(digest, digest.futile) {
        Severity::Warning
    } else {
        Severity::Info
    };
    let each = if max > AGAIN {
        format!(
            "at least {AGAIN} times, the worst {} times",
            wording::count(max as u64)
        )
    } else {
        format!("{AGAIN} times")
    };
    let folios = wording::counted(h.count, "folio");
    let text = if again == h.count {
        format!("Each of the {folios} with futile unmaps was unmapped {each}.")
    } else {
        format!(
            "{} of the {folios} with futile unmaps {} unmapped {each}.",
            wording::count(again),
            if again == 1 { "was" } else { "were each" },
        )
    };
    Some(Finding::new(
        "same-folios-again",
        severity,
        text,
        "Every round of reclaim finds the same memory held, and pays again for the unmap, the \
         notifiers, and the faults that mapped the folio back.",
    ))
}
