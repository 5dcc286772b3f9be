//! Findings on reclaimers: who reclaims for nothing, or whether reclaim did anything at all.

use probe_ebpf::{Reclaimer, Verdict};

use super::{
    answer::{FEW_UNMAPS, is_waste},
    digest::{Digest, reclaimer},
};
use crate::model::{
    capture::{Finding, Severity},
    tables::Share,
    wording,
};

/// The share of futile unmaps that makes one reclaimer responsible.
const RESPONSIBLE_SHARE: f64 = 0.5;
/// The share of futile unmaps done by tasks that wait for memory that is worth naming.
const WAITING_SHARE: f64 = 0.1;

/// Runs the rules.
pub(super) fn findings(digest: &Digest<'_>) -> Vec<Finding> {
    let rules = [direct, proactive, quiet];
    rules.into_iter().filter_map(|rule| rule(digest)).collect()
}

fn direct(digest: &Digest<'_>) -> Option<Finding> {
    let direct = digest.futile_in(|g| g.reclaimer == Reclaimer::Direct);
    let memcg = digest.futile_in(|g| g.reclaimer == Reclaimer::Memcg);
    let waiting = direct.saturating_add(memcg);
    if waiting < FEW_UNMAPS || (waiting as f64) < WAITING_SHARE * digest.futile as f64 {
        return None;
    }
    let by = match (direct, memcg) {
        (_, 0) => "in direct reclaim",
        (0, _) => "at a cgroup's limit",
        _ => "in direct reclaim or at a cgroup's limit",
    };
    let severity = if is_waste(digest, waiting) {
        Severity::Warning
    } else {
        Severity::Info
    };
    Some(Finding::new(
        "reclaimer-direct",
        severity,
        format!(
            "{} of the {} futile unmaps ({}) happened {by}, where the task that asks for memory \
             reclaims it itself.",
            wording::count(waiting),
            wording::count(digest.futile),
            Share::of(waiting, digest.futile),
        ),
        "Their time is latency of those tasks, except for the part of memory.high that a kernel \
         worker does. More room below the limit, or less pinned memory under it, avoids it.",
    ))
}

fn proactive(digest: &Digest<'_>) -> Option<Finding> {
    const REQUESTED: [(Reclaimer, &str); 3] = [
        (
            Reclaimer::Proactive,
            "Exclude this cgroup from whatever writes memory.reclaim, or request less: pinned \
             pages cannot be reclaimed.",
        ),
        (
            Reclaimer::Damon,
            "Change the DAMOS scheme: filter out this cgroup or address range. Pinned pages \
             cannot be reclaimed.",
        ),
        (
            Reclaimer::Madvise,
            "The program requests the reclaim of memory that is held. Do not call MADV_PAGEOUT \
             on it while a device uses it.",
        ),
    ];
    let (who, futile, advice) = REQUESTED
        .into_iter()
        .map(|(who, advice)| (who, digest.futile_in(|g| g.reclaimer == who), advice))
        .max_by_key(|(_, n, _)| *n)?;
    if !is_waste(digest, futile) || (futile as f64) < RESPONSIBLE_SHARE * digest.futile as f64 {
        return None;
    }
    let all = digest
        .groups()
        .filter(|g| g.reclaimer == who)
        .fold(0, |n: u64, g| n.saturating_add(g.total().folios));
    Some(Finding::new(
        "proactive-wastes",
        Severity::Warning,
        format!(
            "{} of {} for {} ({}) were futile. This was requested reclaim, not memory pressure.",
            wording::count(futile),
            wording::counted(all, "unmap"),
            reclaimer(&who.into()),
            Share::of(futile, all),
        ),
        advice,
    ))
}

/// Nothing was futile: either reclaim worked well, or it did not work at all.
fn quiet(digest: &Digest<'_>) -> Option<Finding> {
    match (digest.capture.unmaps.total?, digest.futile) {
        (0, _) => Some(Finding::new(
            "no-reclaim",
            Severity::Info,
            "No unmap was seen: reclaim did not touch mapped memory.",
            "Capture while memory is short, for longer, or around a workload: pinscope capture \
             -- CMD. Reclaim of page cache that nobody maps needs no unmap and is not shown.",
        )),
        (total, 0) if total >= FEW_UNMAPS && digest.folios(Verdict::Undecided) == 0 => {
            Some(Finding::new(
                "all-quiet",
                Severity::Info,
                format!("{}, none of them futile.", wording::counted(total, "unmap")),
                "Nothing to do.",
            ))
        }
        _ => None,
    }
}
