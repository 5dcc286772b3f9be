//! One sentence: is reclaim wasting work on pinned memory here?

use probe_ebpf::{Hook, Verdict};

use super::digest::{Facts, name, reclaimer, sentence};
use crate::model::{
    capture::{Answer, AnswerWord, Capture},
    wording,
};

/// Fewer unmaps than this are a moment, not a pattern: reclaim takes folios in batches of 32
/// (SWAP_CLUSTER_MAX), and this is two of them.
pub(super) const FEW_UNMAPS: u64 = 64;
/// From here on the share of futile unmaps is a waste: one unmap in twenty.
pub(super) const WASTE_SHARE: f64 = 0.05;
/// From here on their rate is a waste whatever their share: at 10 µs each, 1 % of a CPU.
pub(super) const WASTE_PER_SECOND: f64 = 1000.0;

/// The answer that a capture gives.
pub fn answer(capture: &Capture) -> Answer {
    let facts = Facts::new(capture);
    let (word, text) = judge(&facts);
    Answer { word, text }
}

/// Whether so many futile unmaps are a waste.
pub(crate) fn is_waste(facts: &Facts<'_>, futile: u64) -> bool {
    let seconds = facts.capture.window.seconds;
    facts.total >= FEW_UNMAPS
        && (futile as f64 >= WASTE_SHARE * facts.total as f64
            || (seconds >= 1.0 && futile as f64 / seconds >= WASTE_PER_SECOND))
}

fn judge(facts: &Facts<'_>) -> (AnswerWord, String) {
    let span = wording::span(facts.capture.window.seconds);
    if facts.capture.unmaps.total.is_none() {
        let gap = facts.capture.not_measured.first();
        let why = gap.map_or_else(String::new, |gap| format!(" ({})", gap.why));
        return (
            AnswerWord::CantTell,
            format!("Can't tell: unmaps are not seen here{why}."),
        );
    }
    if facts.total == 0 {
        return (
            AnswerWord::CantTell,
            format!(
                "Can't tell: reclaim unmapped nothing in these {span}. That is not the same as \
                 no problem: there was nothing to see."
            ),
        );
    }
    // With shrink_list every undecided unmap is one that wasn't examined; without it they are
    // those without excess references.
    let undecided = facts.folios(Verdict::Undecided);
    let unseen = facts.measured.by(Hook::ShrinkList) && undecided > facts.total / 2;
    let of = format!(
        "{} of {}",
        wording::count(facts.futile),
        wording::counted(facts.total, "unmap")
    );
    if is_waste(facts, facts.futile) {
        let lead = if facts.pinned == 0 {
            "Yes, but not for pins"
        } else if is_waste(facts, facts.pinned) || facts.pinned >= facts.referenced {
            "Yes"
        } else {
            "Yes, but mostly not for pins"
        };
        let share = wording::share(facts.futile, facts.total);
        let cause = cause(facts);
        return (
            AnswerWord::Yes,
            format!(
                "{lead}: {of} ({share}) were in vain, {cause}.{}",
                who(facts)
            ),
        );
    }
    if unseen {
        return (
            AnswerWord::CantTell,
            format!(
                "Can't tell: {} of {} could not be judged.",
                wording::count(undecided),
                wording::counted(facts.total, "unmap")
            ),
        );
    }
    match (facts.futile, facts.total) {
        (0, 1) => (
            AnswerWord::No,
            "No, as far as one unmap shows: it was not in vain.".to_owned(),
        ),
        (0, total) if total < FEW_UNMAPS => (
            AnswerWord::No,
            format!("No, as far as {total} unmaps show: none of them was in vain."),
        ),
        (0, total) => (
            AnswerWord::No,
            format!(
                "No: none of {} was in vain in these {span}.",
                wording::counted(total, "unmap")
            ),
        ),
        (futile, total) => {
            let few = if total < FEW_UNMAPS {
                ". That is too few to judge by"
            } else {
                ""
            };
            (
                AnswerWord::Barely,
                format!(
                    "Barely: {of} ({}) {} in vain, {}{few}.",
                    wording::share(futile, total),
                    if futile == 1 { "was" } else { "were" },
                    cause(facts)
                ),
            )
        }
    }
}

/// What the futile unmaps hit.
fn cause(facts: &Facts<'_>) -> String {
    let pinned = facts.pinned_word();
    match (facts.pinned, facts.referenced) {
        (_, 0) => format!("on {pinned} memory"),
        (0, _) => "on memory that is referenced but not pinned".to_owned(),
        (p, r) => format!(
            "{} on {pinned} memory and {} on memory referenced otherwise",
            wording::count(p),
            wording::count(r)
        ),
    }
}

/// Whose memory it was and who reclaimed it.
fn who(facts: &Facts<'_>) -> String {
    let victim = facts
        .top_victim(|g| g.futile().folios)
        .map(|top| format!("{} had been mapped by {}", top.quantity(), name(top.of)));
    let by = facts
        .top_reclaimer()
        .map(|top| format!("{} fell to {}", top.quantity(), reclaimer(top.of)));
    match (victim, by) {
        (Some(victim), Some(by)) => format!(" {}; {by}.", sentence(&victim)),
        (Some(one), None) | (None, Some(one)) => format!(" {}.", sentence(&one)),
        (None, None) => String::new(),
    }
}
