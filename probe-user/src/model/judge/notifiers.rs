//! Findings on MMU notifiers: what their calls cost, and unmaps that left a mapping in place.

use probe_ebpf::{Memory, Verdict};

use super::{
    answer::{FEW_UNMAPS, is_waste},
    digest::Digest,
};
use crate::model::{
    capture::{Finding, Severity},
    wording,
};

/// The share of one CPU from which notifier time is worth a warning: 1 %.
const CPU_SHARE: f64 = 0.01;
/// The notifier time of one unmap that tasks feel as a stall: 1 ms.
const STALL_SECONDS: f64 = 1e-3;
/// Subscribers that a finding names.
const NAMED: usize = 3;

/// Runs the rules.
pub(super) fn findings(digest: &Digest<'_>) -> Vec<Finding> {
    cost(digest).into_iter().chain(restored(digest)).collect()
}

fn cost(digest: &Digest<'_>) -> Option<Finding> {
    let calls = digest.capture.notifier.in_futile.filter(|n| *n > 0)?;
    let h = digest
        .capture
        .histograms
        .notifier_seconds
        .as_ref()
        .filter(|h| h.count > 0)?;
    let seconds = digest.capture.window.seconds;
    let stalls = h.p99.is_some_and(|p| p.0 >= STALL_SECONDS);
    let busy = seconds > 0.0 && h.sum.0 >= CPU_SHARE * seconds;
    let severity = if calls >= FEW_UNMAPS && (stalls || busy) {
        Severity::Warning
    } else {
        Severity::Info
    };
    let text = format!(
        "Futile unmaps called MMU notifiers {} and spent {} there: {} in the median unmap, {} in \
         the worst.{}",
        wording::times(calls),
        wording::duration(h.sum.0),
        wording::duration(h.p50.unwrap_or_default().0),
        wording::duration(h.max.unwrap_or_default().0),
        subscribed(digest),
    );
    let subscribes = |test: fn(&str) -> bool| {
        let mut all = digest.capture.subscribers.iter().flatten();
        all.any(|s| test(&s.symbol))
    };
    let mut advice = String::from("Each call makes its subscriber release the pages.");
    if subscribes(|symbol| symbol.starts_with("kvm_")) {
        advice.push_str(
            " KVM removes pages that a guest uses from its second-level page tables (EPT, NPT), \
             and vCPUs fault them in again.",
        );
    }
    if subscribes(|symbol| symbol == "interval notifiers") {
        advice.push_str(
            " Interval notifiers belong to drivers that follow user memory, such as RDMA on \
             demand and GPUs: a device may stop until the call is over.",
        );
    }
    advice.push_str(" The cost ends with the futile unmaps.");
    Some(Finding::new("notifier-cost", severity, text, advice))
}

/// The subscribers with the most time.
fn subscribed(digest: &Digest<'_>) -> String {
    let subscribers = digest.capture.subscribers.as_ref();
    let Some(all) = subscribers.filter(|s| !s.is_empty()) else {
        return String::new();
    };
    let names: Vec<&str> = all.iter().take(NAMED).map(|s| s.symbol.as_str()).collect();
    let more = all.len().saturating_sub(names.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(" Subscribed: {}{more}.", names.join(", "))
}

fn restored(digest: &Digest<'_>) -> Option<Finding> {
    let tally = digest.tally(Verdict::Restored, |_| true);
    if tally.folios == 0 {
        return None;
    }
    let of = |memory: Memory| {
        digest
            .tally(Verdict::Restored, |g| g.memory == memory)
            .folios
    };
    let causes: Vec<String> = [
        (
            Memory::Lazyfree,
            "of lazyfree memory, which is put back if it is referenced or was written again",
        ),
        (
            Memory::Anon,
            "of anonymous memory, which from 6.1 on is put back if it is pinned and exclusive",
        ),
    ]
    .into_iter()
    .filter(|(memory, _)| of(*memory) > 0)
    .map(|(memory, cause)| format!("{} {cause}", wording::count(of(memory))))
    .collect();
    let causes = if causes.is_empty() {
        String::new()
    } else {
        format!(": {}", causes.join("; "))
    };
    let total = digest.capture.unmaps.by_verdict.total_of(Verdict::Restored);
    let calls = total.and_then(|t| t.notifier_calls);
    let notified = calls.filter(|n| *n > 0).map_or_else(String::new, |n| {
        format!(
            " They caused {} for nothing.",
            wording::counted(n, "notifier call")
        )
    });
    Some(Finding::new(
        "restored",
        if is_waste(digest, tally.folios) {
            Severity::Warning
        } else {
            Severity::Info
        },
        format!(
            "{} of {} left a mapping in place{causes}.{notified}",
            wording::count(tally.folios),
            wording::counted(digest.total, "unmap"),
        ),
        "These unmaps are not counted as futile, but were as useless. Do not give memory that a \
         device uses to MADV_FREE, and mlock it so that reclaim does not find it.",
    ))
}
