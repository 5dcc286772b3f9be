//! What several rules ask of a capture, gathered once.

use std::collections::BTreeMap;

use probe_ebpf::{Hook, Reclaimer, Verdict};

use crate::{
    model::{
        capture::{Capture, Group, Tally, Who, sum},
        measured::Measured,
        wording,
    },
    words::Word,
};

/// A capture and the sums that rules use.
pub(crate) struct Digest<'a> {
    /// The capture, still without its answer and findings.
    pub(crate) capture: &'a Capture,
    /// The hooks that were active.
    pub(crate) measured: Measured,
    /// All unmaps.
    pub(crate) total: u64,
    /// Futile unmaps.
    pub(crate) futile: u64,
    /// Futile unmaps of pinned folios.
    pub(crate) pinned: u64,
    /// Futile unmaps of folios that are referenced but not pinned.
    pub(crate) referenced: u64,
}

/// The largest part of a whole, and its owner.
pub(crate) struct Top<T> {
    /// The owner.
    pub(crate) of: T,
    /// The size of the part.
    pub(crate) part: u64,
    /// The size of the whole.
    pub(crate) whole: u64,
}

impl<T> Top<T> {
    /// `all`, `most (80 %)`, `the largest part (31 %)`.
    pub(crate) fn quantity(&self) -> String {
        if self.part >= self.whole {
            "all".to_owned()
        } else if self.part.saturating_mul(2) > self.whole {
            format!("most ({})", wording::share(self.part, self.whole))
        } else {
            format!(
                "the largest part ({})",
                wording::share(self.part, self.whole)
            )
        }
    }
}

impl<'a> Digest<'a> {
    pub(crate) fn new(capture: &'a Capture) -> Self {
        let folios = |verdict| capture.unmaps.folios(verdict).unwrap_or(0);
        let pinned = folios(Verdict::FutilePinned);
        let referenced = folios(Verdict::FutileReferenced);
        Self {
            capture,
            measured: Measured::new(&capture.hooks),
            total: capture.unmaps.total.unwrap_or(0),
            futile: pinned.saturating_add(referenced),
            pinned,
            referenced,
        }
    }

    /// Folios of `verdict`.
    pub(crate) fn folios(&self, verdict: Verdict) -> u64 {
        self.capture.unmaps.folios(verdict).unwrap_or(0)
    }

    /// The groups of reclaim.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &'a Group> {
        self.capture.reclaim_groups()
    }

    /// The tally of `verdict` in the groups that `select` accepts.
    pub(crate) fn tally(&self, verdict: Verdict, select: impl Fn(&Group) -> bool) -> Tally {
        sum(self
            .groups()
            .filter(|g| select(g))
            .filter_map(|g| g.by_verdict.get(verdict))
            .copied())
    }

    /// Futile folios of the groups that `select` accepts.
    pub(crate) fn futile_in(&self, select: impl Fn(&Group) -> bool) -> u64 {
        sum(self.groups().filter(|g| select(g)).map(Group::futile)).folios
    }

    /// The process under which most of the folios counted by `part` are.
    pub(crate) fn top_victim(&self, part: impl Fn(&Group) -> u64) -> Option<Top<&'a Who>> {
        if !self.measured.by(Hook::UnmapOne) {
            return None;
        }
        let top = top(self.groups().map(|g| (g.victim.as_ref(), part(g))))?;
        let of = top
            .of
            .filter(|who| who.pid.is_some() || who.comm.is_some())?;
        Some(Top {
            of,
            part: top.part,
            whole: top.whole,
        })
    }

    /// The reclaimer of most of the futile folios.
    pub(crate) fn top_reclaimer(&self) -> Option<Top<&'a Word<Reclaimer>>> {
        let top = top(self.groups().map(|g| (&g.reclaimer, g.futile().folios)))?;
        (*top.of != Reclaimer::Unknown).then_some(top)
    }

    /// `pinned`, or `probably pinned` where small folios make it a guess.
    pub(crate) fn pinned_word(&self) -> &'static str {
        match self.capture.accuracy.maybe_pinned_folios {
            0 => "pinned",
            guesses if guesses < self.pinned => "pinned or probably pinned",
            _ => "probably pinned",
        }
    }

    /// `, 51 a second`, or nothing without a duration.
    pub(crate) fn rate(&self, n: u64) -> String {
        wording::per_second(n, self.capture.window.seconds)
            .map(|rate| format!(", {rate}"))
            .unwrap_or_default()
    }
}

/// The key with the largest sum; of equal sums, the first key.
fn top<K: Ord + Copy>(parts: impl Iterator<Item = (K, u64)>) -> Option<Top<K>> {
    let mut sums: BTreeMap<K, u64> = BTreeMap::new();
    for (key, n) in parts {
        let sum = sums.entry(key).or_default();
        *sum = sum.saturating_add(n);
    }
    let whole = sums.values().fold(0, |a: u64, b| a.saturating_add(*b));
    let (of, part) = sums.into_iter().rev().max_by_key(|(_, n)| *n)?;
    (part > 0).then_some(Top { of, part, whole })
}

/// `gpu-trainer (pid 212)`.
pub(crate) fn name(who: &Who) -> String {
    match (&who.comm, who.pid) {
        (Some(comm), Some(pid)) => format!("{comm} (pid {pid})"),
        (Some(comm), None) => comm.clone(),
        (None, Some(pid)) => format!("pid {pid}"),
        (None, None) => "an unknown process".to_owned(),
    }
}

/// A reclaimer in prose.
pub(crate) fn reclaimer(word: &Word<Reclaimer>) -> &str {
    match word.known() {
        Some(Reclaimer::Direct) => "direct reclaim",
        Some(Reclaimer::Memcg) => "reclaim at a cgroup's limit",
        Some(Reclaimer::Proactive) => "memory.reclaim",
        Some(Reclaimer::Madvise) => "MADV_PAGEOUT",
        Some(Reclaimer::Damon) => "DAMON",
        _ => word.as_str(),
    }
}

/// Under what circumstances a reclaimer works: `during memory.reclaim`.
pub(crate) fn circumstance(word: &Word<Reclaimer>) -> String {
    match word.known() {
        Some(Reclaimer::Kswapd | Reclaimer::Damon) | None => format!("by {}", reclaimer(word)),
        Some(Reclaimer::Memcg) => "at a cgroup's limit".to_owned(),
        Some(_) => format!("during {}", reclaimer(word)),
    }
}

/// `text` with its first letter in upper case.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
