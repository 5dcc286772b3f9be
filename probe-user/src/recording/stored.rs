//! A frame as a recording stores it: JSON with words and values, so that it does not depend on
//! the numbers and buckets of the version that wrote it. Every key added later has a default.

use std::collections::BTreeMap;

use probe_ebpf::{Memory, Reclaimer, Road, Verdict, hist};
use serde::{Deserialize, Serialize};

use super::Frame;
use crate::{
    snapshot::{
        Counts, Event, Group, Histogram, HookStatus, Lost, LostCounts, NewerVerdicts, Process,
        SelfCost, Snapshot, Subscriber,
    },
    words::{Vocabulary, Word},
};

/// The most rows of anything that a file may claim to have.
const MAX_ROWS: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct StoredGroup {
    #[serde(default = "reclaim", skip_serializing_if = "is_reclaim")]
    road: Word<Road>,
    reclaimer: Word<Reclaimer>,
    memory: Word<Memory>,
    order: u8,
    victim: Option<Process>,
    by_verdict: BTreeMap<String, Counts>,
}

/// A histogram whose buckets are named by the smallest value that they count.
#[derive(Serialize, Deserialize)]
struct StoredHistogram {
    sum: u64,
    min: Option<u64>,
    max: Option<u64>,
    buckets: Vec<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct StoredFrame {
    elapsed: f64,
    groups: Vec<StoredGroup>,
    victims: Option<Vec<(Process, Lost)>>,
    subscribers: Option<Vec<Subscriber>>,
    unmap_ns: BTreeMap<String, StoredHistogram>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unmap_ns_by_reclaimer: BTreeMap<String, BTreeMap<String, StoredHistogram>>,
    notifier_ns: Option<BTreeMap<String, StoredHistogram>>,
    excess: StoredHistogram,
    per_folio: StoredHistogram,
    hooks: Vec<HookStatus>,
    #[serde(default)]
    lost: LostCounts,
    #[serde(default)]
    in_flight: u64,
    #[serde(default)]
    cost: SelfCost,
    #[serde(default)]
    events: Vec<Event>,
}

fn histogram(h: &Histogram) -> StoredHistogram {
    StoredHistogram {
        sum: h.sum,
        min: h.min,
        max: h.max,
        buckets: h
            .buckets
            .iter()
            .take(hist::BUCKETS)
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(bucket, n)| (hist::lower(bucket), *n))
            .collect(),
    }
}

impl StoredHistogram {
    fn read(&self) -> Histogram {
        let mut buckets = Vec::new();
        for &(lower, n) in &self.buckets {
            let bucket = hist::bucket_of(lower);
            if buckets.len() <= bucket {
                buckets.resize(bucket + 1, 0u64);
            }
            buckets[bucket] = buckets[bucket].saturating_add(n);
        }
        Histogram {
            sum: self.sum,
            min: self.min,
            max: self.max,
            buckets,
        }
    }
}

fn by_verdict(all: &BTreeMap<Verdict, Histogram>) -> BTreeMap<String, StoredHistogram> {
    all.iter()
        .map(|(v, h)| (v.name().to_owned(), histogram(h)))
        .collect()
}

/// The histograms of verdicts that this version knows; it shows no others.
fn read_by_verdict(all: &BTreeMap<String, StoredHistogram>) -> BTreeMap<Verdict, Histogram> {
    all.iter()
        .filter_map(|(word, h)| Some((Verdict::find(word)?, h.read())))
        .collect()
}

fn by_reclaimer(
    all: &BTreeMap<(Reclaimer, Verdict), Histogram>,
) -> BTreeMap<String, BTreeMap<String, StoredHistogram>> {
    let mut stored: BTreeMap<String, BTreeMap<String, StoredHistogram>> = BTreeMap::new();
    for ((reclaimer, verdict), h) in all {
        let row = stored.entry(reclaimer.name().to_owned()).or_default();
        row.insert(verdict.name().to_owned(), histogram(h));
    }
    stored
}

/// The histograms of reclaimers and verdicts that this version knows.
fn read_by_reclaimer(
    all: &BTreeMap<String, BTreeMap<String, StoredHistogram>>,
) -> BTreeMap<(Reclaimer, Verdict), Histogram> {
    let known = all
        .iter()
        .filter_map(|(word, row)| Some((Reclaimer::find(word)?, row)));
    known
        .flat_map(|(reclaimer, row)| {
            read_by_verdict(row)
                .into_iter()
                .map(move |(verdict, h)| ((reclaimer, verdict), h))
        })
        .collect()
}

/// The road of recordings from versions that hooked reclaim alone.
fn reclaim() -> Word<Road> {
    Road::Reclaim.into()
}

fn is_reclaim(road: &Word<Road>) -> bool {
    *road == Road::Reclaim
}

/// Encodes a frame.
pub(super) fn write(snapshot: &Snapshot, events: &[Event]) -> Result<Vec<u8>, String> {
    let s = snapshot;
    let stored = StoredFrame {
        elapsed: s.elapsed,
        groups: s
            .groups
            .iter()
            .map(|(g, counts)| StoredGroup {
                road: g.road.clone(),
                reclaimer: g.reclaimer.clone(),
                memory: g.memory.clone(),
                order: g.order,
                victim: g.victim.clone(),
                by_verdict: Verdict::ALL
                    .into_iter()
                    .zip(counts)
                    .filter(|(_, c)| **c != Counts::default())
                    .map(|(v, c)| (v.name().to_owned(), *c))
                    .collect(),
            })
            .collect(),
        victims: s.victims.clone(),
        subscribers: s.subscribers.clone(),
        unmap_ns: by_verdict(&s.unmap_ns),
        unmap_ns_by_reclaimer: by_reclaimer(&s.unmap_ns_by_reclaimer),
        notifier_ns: s.notifier_ns.as_ref().map(by_verdict),
        excess: histogram(&s.excess),
        per_folio: histogram(&s.per_folio),
        hooks: s.hooks.clone(),
        lost: s.lost,
        in_flight: s.in_flight,
        cost: s.cost,
        events: events.to_vec(),
    };
    serde_json::to_vec(&stored).map_err(|e| e.to_string())
}

/// Decodes a frame.
pub(super) fn read(bytes: &[u8]) -> Result<Frame, String> {
    let mut s: StoredFrame =
        serde_json::from_slice(bytes).map_err(|e| format!("a block cannot be decoded: {e}"))?;
    s.hooks.retain(|hook| !hook.is_only_planned());
    if s.groups.len() > MAX_ROWS {
        return Err("it claims more groups than the kernel side can have".into());
    }
    let mut groups = Vec::with_capacity(s.groups.len());
    let mut newer = Vec::new();
    for g in s.groups {
        let mut counts = [Counts::default(); Verdict::COUNT];
        let mut unknown = NewerVerdicts::new();
        for (word, c) in g.by_verdict {
            match Verdict::find(&word) {
                Some(verdict) => counts[verdict as usize] = c,
                None => _ = unknown.insert(word, c),
            }
        }
        let group = Group {
            road: g.road,
            reclaimer: g.reclaimer,
            memory: g.memory,
            order: g.order,
            victim: g.victim,
        };
        if !unknown.is_empty() {
            newer.push((group.clone(), unknown));
        }
        groups.push((group, counts));
    }
    let snapshot = Snapshot {
        elapsed: s.elapsed,
        groups,
        newer,
        victims: s.victims,
        subscribers: s.subscribers,
        unmap_ns: read_by_verdict(&s.unmap_ns),
        unmap_ns_by_reclaimer: read_by_reclaimer(&s.unmap_ns_by_reclaimer),
        notifier_ns: s.notifier_ns.as_ref().map(read_by_verdict),
        excess: s.excess.read(),
        per_folio: s.per_folio.read(),
        hooks: s.hooks,
        lost: s.lost,
        maps: Vec::new(),
        in_flight: s.in_flight,
        cost: s.cost,
    };
    Ok(Frame {
        snapshot,
        events: s.events,
    })
}
