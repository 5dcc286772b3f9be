//! What became of the unmapped folios: one row for each verdict.

use probe_ebpf::Verdict;

use super::{emphasis::Emphasis, share::Share};
use crate::{
    model::capture::{Capture, VerdictTotal},
    words::Word,
};

/// The order of the rows, futile verdicts first, and what each verdict means in a few words.
const ORDER: [(Verdict, &str); 8] = [
    (Verdict::FutilePinned, "pinned"),
    (Verdict::FutileReferenced, "held, not pinned"),
    (Verdict::Restored, "still mapped"),
    (Verdict::Freed, "left its cache"),
    (Verdict::Writeback, "being written"),
    (Verdict::Kept, "dirty or raced"),
    (Verdict::Migrated, "moved"),
    (Verdict::Undecided, "not judged"),
];

/// All unmaps of one verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictRow {
    /// The verdict.
    pub verdict: Word<Verdict>,
    /// What it means, in a few words.
    pub meaning: &'static str,
    /// Its folios, pages and notifier calls; `None`: not measured.
    pub total: Option<VerdictTotal>,
    /// Its share of all unmaps; `None`: not measured.
    pub share: Option<Share>,
    /// How much attention it deserves.
    pub emphasis: Emphasis,
}

impl VerdictRow {
    /// Whether the unmaps were futile.
    pub fn is_futile(&self) -> bool {
        self.verdict.known().is_some_and(Verdict::is_futile)
    }
}

/// The verdicts that this capture gives, futile ones first, those of a newer version last. Empty
/// where unmaps are not measured.
///
/// A verdict whose key is missing has no row, nor has `migrated` where it is not measured: the
/// capture's `not_measured` explains that.
pub fn verdicts(capture: &Capture) -> Vec<VerdictRow> {
    let Some(all) = capture.unmaps.total else {
        return Vec::new();
    };
    let guess = capture.accuracy.maybe_pinned_folios > 0;
    let newer = capture.unmaps.by_verdict.newer().map(|(word, total)| {
        let occurs = total.is_some_and(|t| t.folios > 0);
        VerdictRow {
            verdict: Word::Newer(word.to_owned()),
            meaning: "of a newer version",
            total: *total,
            share: total.map(|t| Share::of(t.folios, all)),
            emphasis: if occurs {
                Emphasis::Plain
            } else {
                Emphasis::Absent
            },
        }
    });
    ORDER
        .into_iter()
        .filter_map(|(verdict, meaning)| {
            let total = *capture.unmaps.by_verdict.get(verdict)?;
            if verdict == Verdict::Migrated && total.is_none() {
                return None;
            }
            Some(VerdictRow {
                verdict: verdict.into(),
                meaning: match verdict {
                    Verdict::FutilePinned if guess => "probably pinned",
                    _ => meaning,
                },
                total,
                share: total.map(|t| Share::of(t.folios, all)),
                emphasis: emphasis(verdict, total),
            })
        })
        .chain(newer)
        .collect()
}

fn emphasis(verdict: Verdict, total: Option<VerdictTotal>) -> Emphasis {
    match total {
        Some(t) if t.folios > 0 && verdict.is_futile() => Emphasis::Futile,
        Some(t) if t.folios > 0 && verdict == Verdict::Restored => Emphasis::Doubtful,
        Some(t) if t.folios > 0 => Emphasis::Plain,
        _ => Emphasis::Absent,
    }
}
