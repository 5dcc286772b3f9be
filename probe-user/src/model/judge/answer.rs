//! Judges whether reclaim is wasting work on pinned memory, in one or two sentences.

use probe_ebpf::{Hook, Verdict};

use super::digest::{Digest, circumstance, name, sentence};
use crate::model::{
    capture::{Answer, AnswerWord, Capture},
    tables::Share,
    wording,
};

/// Fewer unmaps than this are a moment, not a pattern: reclaim takes folios in batches of 32
/// (SWAP_CLUSTER_MAX), and this is two of them.
pub(super) const FEW_UNMAPS: u64 = 64;
/// The share of futile unmaps from which they are a waste: one unmap in twenty.
pub(super) const WASTE_SHARE: f64 = 0.05;
/// The rate of futile unmaps from which they are a waste whatever their share: at 10 µs each,
/// 1 % of a CPU.
pub(super) const WASTE_PER_SECOND: f64 = 1000.0;

/// The answer that a capture gives.
pub fn answer(capture: &Capture) -> Answer {
    let digest = Digest::new(capture);
    let (word, text) = judge(&digest);
    Answer { word, text }
}

/// Whether this number of futile unmaps is a waste.
pub(super) fn is_waste(digest: &Digest<'_>, futile: u64) -> bool {
    let seconds = digest.capture.window.seconds;
    digest.total >= FEW_UNMAPS
        && (futile as f64 >= WASTE_SHARE * digest.total as f64
            || (seconds >= 1.0 && futile as f64 / seconds >= WASTE_PER_SECOND))
}

fn judge(digest: &Digest<'_>) -> (AnswerWord, String) {
    let span = wording::span(digest.capture.window.seconds);
    if digest.capture.unmaps.total.is_none() {
        let gap = digest.capture.not_measured.first();
        let why = gap.map_or_else(String::new, |gap| format!(" ({})", gap.why));
        let text = format!("No answer: unmaps cannot be observed here{why}.");
        return (AnswerWord::CantTell, text);
    }
    if digest.total == 0 {
        let text = format!(
            "No answer: reclaim unmapped nothing in {span}. That does not rule out a problem: \
             there was nothing to observe."
        );
        return (AnswerWord::CantTell, text);
    }
    // With shrink_list, an undecided unmap is one that was not examined. Without it, unmaps
    // without excess references are undecided.
    let undecided = digest.folios(Verdict::Undecided);
    let unseen = digest.measured.by(Hook::ShrinkList) && undecided > digest.total / 2;
    let of = format!(
        "{} of {} ({}) {} futile, {}",
        wording::count(digest.futile),
        wording::counted(digest.total, "unmap"),
        Share::of(digest.futile, digest.total),
        if digest.futile == 1 { "was" } else { "were" },
        cause(digest),
    );
    if is_waste(digest, digest.futile) {
        let lead = if digest.pinned == 0 {
            "Reclaim is wasting work, but not on pins"
        } else if is_waste(digest, digest.pinned) || digest.pinned >= digest.referenced {
            "Reclaim is wasting work"
        } else {
            "Reclaim is wasting work, mostly not on pins"
        };
        return (AnswerWord::Yes, format!("{lead}: {of}.{}", who(digest)));
    }
    if unseen {
        let text = format!(
            "No answer: {} of {} could not be judged.",
            wording::count(undecided),
            wording::counted(digest.total, "unmap")
        );
        return (AnswerWord::CantTell, text);
    }
    let unmaps = wording::counted(digest.total, "unmap");
    match (digest.futile, digest.total) {
        (0, 1) => (
            AnswerWord::No,
            "No waste seen, but in one unmap only: it was not futile.".to_owned(),
        ),
        (0, total) if total < FEW_UNMAPS => (
            AnswerWord::No,
            format!("No waste seen, but in {unmaps} only: none of them was futile."),
        ),
        (0, _) => (
            AnswerWord::No,
            format!("Reclaim is not wasting work: none of {unmaps} in {span} was futile."),
        ),
        (_, total) => {
            let few = if total < FEW_UNMAPS {
                " These are too few unmaps to judge by."
            } else {
                ""
            };
            let text = format!("Reclaim wastes little work: {of}.{few}");
            (AnswerWord::Barely, text)
        }
    }
}

/// The kind of memory that futile unmaps hit.
fn cause(digest: &Digest<'_>) -> String {
    let pinned = digest.pinned_word();
    match (digest.pinned, digest.referenced) {
        (_, 0) => format!("on {pinned} memory"),
        (0, _) => "on memory that is referenced but not pinned".to_owned(),
        (p, r) => format!(
            "{} on {pinned} memory and {} on memory referenced otherwise",
            wording::count(p),
            wording::count(r)
        ),
    }
}

/// The process that had mapped most of the memory, and the reclaimer of most of it.
fn who(digest: &Digest<'_>) -> String {
    let victim = digest
        .top_victim(|g| g.futile().folios)
        .map(|top| format!("{} were mapped by {}", top.quantity(), name(top.of)));
    let by = digest
        .top_reclaimer()
        .map(|top| format!("{} happened {}", top.quantity(), circumstance(top.of)));
    match (victim, by) {
        (Some(victim), Some(by)) => format!(" {}; {by}.", sentence(&victim)),
        (Some(one), None) | (None, Some(one)) => format!(" {}.", sentence(&one)),
        (None, None) => String::new(),
    }
}
