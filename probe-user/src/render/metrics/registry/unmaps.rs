//! Metrics of the unmaps: how many, of what, how long, and held by how many references.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use probe_ebpf::{Hook, Memory, Reclaimer, Verdict};

use super::labels::{MEMORY, RECLAIMER, VERDICT};
use crate::{
    model::capture::histogram::merged,
    render::metrics::{
        buckets::{self, Of},
        family::{Kind, Metric, Unit},
        input::{Input, Page},
        value::{Example, Value},
    },
    snapshot::Histogram,
    words::Word,
};

pub(super) static UNMAPS: Metric = Metric {
    name: "pinscope_unmaps",
    unit: Unit::Of("folios"),
    kind: Kind::Counter,
    help: "Folios that reclaim unmapped, by verdict",
    details: "The futile series of the usual reclaimers and kinds of memory start at 0.",
    labels: &[RECLAIMER, MEMORY, VERDICT],
    needs: &[Hook::Unmap],
    option: None,
    collect: |input, family| {
        for ((reclaimer, memory, verdict), sums) in groups(input) {
            let labels = [
                reclaimer.to_string(),
                memory.to_string(),
                verdict.name().to_owned(),
            ];
            family.push(labels, Value::Count(sums.folios));
        }
    },
};

pub(super) static PAGES: Metric = Metric {
    name: "pinscope_unmapped_pages",
    unit: Unit::Of("pages"),
    kind: Kind::Counter,
    help: "Pages of the folios that reclaim unmapped, by verdict",
    details: "",
    labels: &[RECLAIMER, MEMORY, VERDICT],
    needs: &[Hook::Unmap],
    option: None,
    collect: |input, family| {
        for ((reclaimer, memory, verdict), sums) in groups(input) {
            if sums.pages > 0 {
                let labels = [
                    reclaimer.to_string(),
                    memory.to_string(),
                    verdict.name().to_owned(),
                ];
                family.push(labels, Value::Count(sums.pages));
            }
        }
    },
};

pub(super) static TIMES: Metric = Metric {
    name: "pinscope_unmap",
    unit: Unit::Seconds,
    kind: Kind::Histogram,
    help: "Time from entry to return of try_to_unmap, including the MMU notifiers and pinscope's \
           own probes in it",
    details: "",
    labels: &[VERDICT],
    needs: &[Hook::Unmap],
    option: None,
    collect: |input, family| {
        for (verdict, h) in times(input) {
            let mut value = buckets::exported(&h, Of::Times);
            value.exemplars = exemplars(input, verdict);
            let value = Value::Histogram(Box::new(value));
            family.push([verdict.name().to_owned()], value);
        }
    },
};

pub(super) static EXCESS_REFERENCES: Metric = Metric {
    name: "pinscope_excess_references",
    unit: Unit::Of("references"),
    kind: Kind::Histogram,
    help: "Excess references on folios whose unmap was futile; a pin of a small folio counts 1024",
    details: "A small folio with 1024 or more is probably pinned.",
    labels: &[],
    needs: &[Hook::Unmap],
    option: None,
    collect: |input, family| {
        let value = buckets::exported(&input.snapshot.excess, Of::References);
        family.push([], Value::Histogram(Box::new(value)));
    },
};

/// The usual reclaimers and kinds of memory. Their futile series start at 0, so that `rate()`
/// sees the first increase.
const RECLAIMERS: [Reclaimer; 5] = [
    Reclaimer::Kswapd,
    Reclaimer::Direct,
    Reclaimer::Memcg,
    Reclaimer::Proactive,
    Reclaimer::Madvise,
];
const MEMORIES: [Memory; 3] = [Memory::Anon, Memory::Shmem, Memory::File];

#[derive(Default)]
struct Sums {
    folios: u64,
    pages: u64,
}

type Key = (Word<Reclaimer>, Word<Memory>, Verdict);

/// Sums up the unmaps by reclaimer, memory and verdict.
fn groups(input: &Page<'_>) -> BTreeMap<Key, Sums> {
    let measured = input.measured();
    let mut by: BTreeMap<Key, Sums> = BTreeMap::new();
    for verdict in futile(input) {
        for reclaimer in RECLAIMERS {
            for memory in MEMORIES {
                let reclaimer = measured.reclaimer(reclaimer);
                by.entry((reclaimer.into(), memory.into(), verdict))
                    .or_default();
            }
        }
    }
    for row in input.rows() {
        let (group, counts) = (&row.name, &row.counts);
        for verdict in Verdict::ALL {
            let c = counts[verdict as usize];
            if c.folios > 0 {
                let sums = by
                    .entry((group.reclaimer.clone(), group.memory.clone(), verdict))
                    .or_default();
                sums.folios = sums.folios.saturating_add(c.folios);
                sums.pages = sums.pages.saturating_add(c.pages);
            }
        }
    }
    by
}

/// The futile verdicts that the attached hooks can give.
fn futile(input: &Input<'_>) -> impl Iterator<Item = Verdict> {
    let measured = input.measured();
    let all = Verdict::ALL.into_iter();
    all.filter(move |v| v.is_futile() && measured.verdict(*v))
}

/// The times by verdict: of the futile verdicts always, of the others if they have any.
fn times(input: &Input<'_>) -> BTreeMap<Verdict, Histogram> {
    let measured = input.measured();
    let mut by: BTreeMap<Verdict, Histogram> =
        futile(input).map(|v| (v, Histogram::default())).collect();
    for (verdict, h) in &input.snapshot.unmap_ns {
        if h.buckets.iter().any(|n| *n > 0) {
            let to = by.entry(measured.attribute(*verdict)).or_default();
            *to = merged(to, h);
        }
    }
    by
}

/// The newest individual unmap of each bucket.
fn exemplars(input: &Input<'_>, verdict: Verdict) -> Vec<(usize, Example)> {
    let start = input
        .attached
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64());
    let mut found: BTreeMap<usize, Example> = BTreeMap::new();
    for event in input.events.iter().filter(|e| e.verdict == verdict) {
        let mut labels = vec![
            ("reclaimer_comm", end_of(&event.reclaimer_comm, 16)),
            ("memory", end_of(event.memory.as_str(), 16)),
        ];
        if let Some(cgroup) = event.victim.as_ref().and_then(|v| v.cgroup.as_ref()) {
            labels.push(("cgroup", end_of(cgroup, 48)));
        }
        let example = Example {
            value: Of::Times.scale(event.unmap_ns),
            at: start + event.elapsed,
            labels,
        };
        found.insert(buckets::classic_of(event.unmap_ns, Of::Times), example);
    }
    found.into_iter().collect()
}

/// Returns at most `most` characters from the end of a text, so that the labels of an exemplar
/// have at most 128 characters.
fn end_of(text: &str, most: usize) -> String {
    let skip = text.chars().count().saturating_sub(most);
    text.chars().skip(skip).collect()
}
