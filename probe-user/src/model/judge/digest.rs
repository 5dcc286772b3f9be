//! What the answer and the findings both ask of a capture.

use std::collections::BTreeMap;

use probe_ebpf::{Hook, Reclaimer, Verdict};

use crate::model::{
    capture::{Capture, Group, Tally, Who, sum},
    measured::Measured,
    wording,
};

/// A capture and what is asked of it over and over.
pub(crate) struct Facts<'a> {
    /// The capture; its answer and findings aren't there yet.
    pub(crate) capture: &'a Capture,
    /// Which hooks were active.
    pub(crate) measured: Measured,
    /// All unmaps.
    pub(crate) total: u64,
    /// Futile ones.
    pub(crate) futile: u64,
    /// Futile ones of pinned folios.
    pub(crate) pinned: u64,
    /// Futile ones of folios referenced otherwise.
    pub(crate) referenced: u64,
}

/// The largest part of something, and whose it is.
pub(crate) struct Top<T> {
    /// Whose it is.
    pub(crate) of: T,
    /// Its size.
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

impl<'a> Facts<'a> {
    pub(crate) fn new(capture: &'a Capture) -> Self {
        let (pinned, referenced) = (
            folios(capture, Verdict::FutilePinned),
            folios(capture, Verdict::FutileReferenced),
        );
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
        folios(self.capture, verdict)
    }

    /// The groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &'a Group> {
        self.capture.groups.iter().flatten()
    }

    /// The tally of `verdict` in the groups that `select` takes.
    pub(crate) fn tally(&self, verdict: Verdict, select: impl Fn(&Group) -> bool) -> Tally {
        sum(self
            .groups()
            .filter(|g| select(g))
            .filter_map(|g| g.by_verdict.get(verdict))
            .copied())
    }

    /// Futile folios of the groups that `select` takes.
    pub(crate) fn futile_in(&self, select: impl Fn(&Group) -> bool) -> u64 {
        sum(self.groups().filter(|g| select(g)).map(Group::futile)).folios
    }

    /// The process under which most of the folios of `part` count.
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

    /// The reclaimer under which most of the futile folios count.
    pub(crate) fn top_reclaimer(&self) -> Option<Top<&'a str>> {
        let top = top(self
            .groups()
            .map(|g| (g.reclaimer.as_str(), g.futile().folios)))?;
        (top.of != Reclaimer::Unknown.name()).then_some(top)
    }

    /// `pinned`, or `maybe pinned` where small folios make it a guess.
    pub(crate) fn pinned_word(&self) -> &'static str {
        match self.capture.accuracy.maybe_pinned_folios {
            0 => "pinned",
            guesses if guesses < self.pinned => "pinned or maybe pinned",
            _ => "maybe pinned",
        }
    }

    /// `(51 a second)` with a blank before it, or nothing.
    pub(crate) fn rate(&self, n: u64) -> String {
        wording::per_second(n, self.capture.window.seconds)
            .map(|rate| format!(", {rate}"))
            .unwrap_or_default()
    }
}

fn folios(capture: &Capture, verdict: Verdict) -> u64 {
    capture
        .unmaps
        .by_verdict
        .get(verdict)
        .copied()
        .flatten()
        .map_or(0, |t| t.folios)
}

/// The key with the largest sum, the first of equals.
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

/// A reclaimer as people call it.
pub(crate) fn reclaimer(word: &str) -> &str {
    match word {
        "direct" => "direct reclaim",
        "memcg" => "reclaim at a cgroup's limit",
        "proactive" => "memory.reclaim",
        "madvise" => "MADV_PAGEOUT",
        "damon" => "DAMON",
        other => other,
    }
}

/// With its first letter large.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
