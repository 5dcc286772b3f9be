//! Metrics of the unmaps: how many, of what, how long, and held by how many references.

use std::collections::BTreeMap;

use probe_ebpf::{Hook, Memory, Reclaimer, Road, Verdict};

use super::labels::{MEMORY, RECLAIMER, ROAD, VERDICT};
use crate::{
    model::{Measured, capture::histogram::merged},
    render::metrics::{
        buckets::{self, Of},
        family::{Family, Kind, Metric, Unit},
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
    help: "Folios that were unmapped, by verdict",
    details: "All series that the attached hooks can give start at 0.",
    labels: &[ROAD, RECLAIMER, MEMORY, VERDICT],
    needs: &[Hook::Unmap],
    option: None,
    collect: |input, family| counts(input, family, |sums| sums.folios),
};

pub(super) static PAGES: Metric = Metric {
    name: "pinscope_unmapped_pages",
    unit: Unit::Of("pages"),
    kind: Kind::Counter,
    help: "Pages of the folios that were unmapped, by verdict",
    details: "",
    labels: &[ROAD, RECLAIMER, MEMORY, VERDICT],
    needs: &[Hook::Unmap],
    option: None,
    collect: |input, family| counts(input, family, |sums| sums.pages),
};

pub(super) static TIMES: Metric = Metric {
    name: "pinscope_unmap",
    unit: Unit::Seconds,
    kind: Kind::Histogram,
    help: "Time from entry to return of try_to_unmap, including the MMU notifiers and pinscope's \
           own probes in it",
    details: "The futile and freed series of the usual reclaimers start at 0; others appear with \
              their first unmap. Recordings that do not distinguish reclaimers have \
              `unknown`.",
    labels: &[RECLAIMER, VERDICT],
    needs: &[Hook::Unmap],
    option: None,
    collect: |input, family| {
        for ((reclaimer, verdict), h) in times(input) {
            let mut value = buckets::exported(&h, Of::Times);
            value.exemplars = exemplars(input, reclaimer, verdict);
            let labels = [reclaimer.name().to_owned(), verdict.name().to_owned()];
            family.push(labels, Value::Histogram(Box::new(value)));
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

/// The kinds of memory that reclaim finds on its lists.
const MEMORIES: [Memory; 4] = [Memory::Anon, Memory::Shmem, Memory::File, Memory::Lazyfree];
/// The reclaimers that most hosts have. A histogram has many series: those of others wait for
/// their first unmap.
const USUAL: [Reclaimer; 5] = [
    Reclaimer::Kswapd,
    Reclaimer::Direct,
    Reclaimer::Memcg,
    Reclaimer::Proactive,
    Reclaimer::Madvise,
];

/// The verdicts that the attached hooks can give. `undecided` is one of them everywhere: a probe may
/// be missed at any time.
pub(super) fn verdicts(measured: Measured) -> impl Iterator<Item = Verdict> {
    let all = Verdict::ALL.into_iter();
    all.filter(move |v| measured.verdict(*v))
}

#[derive(Default)]
struct Sums {
    folios: u64,
    pages: u64,
}

type Key = (Word<Road>, Word<Reclaimer>, Word<Memory>, Verdict);

fn counts(input: &Page<'_>, family: &mut Family, count: fn(&Sums) -> u64) {
    for ((road, reclaimer, memory, verdict), sums) in groups(input) {
        let labels = [
            road.to_string(),
            reclaimer.to_string(),
            memory.to_string(),
            verdict.name().to_owned(),
        ];
        family.push(labels, Value::Count(count(&sums)));
    }
}

/// Sums up the unmaps by road, reclaimer, memory and verdict.
fn groups(input: &Page<'_>) -> BTreeMap<Key, Sums> {
    let measured = input.measured();
    let mut by: BTreeMap<Key, Sums> = BTreeMap::new();
    let named = |r: &Reclaimer| *r != Reclaimer::Unknown;
    for reclaimer in Reclaimer::ALL.into_iter().filter(named) {
        let reclaimer = measured.reclaimer(reclaimer);
        for memory in MEMORIES {
            for verdict in verdicts(measured) {
                let road = Road::Reclaim.into();
                by.entry((road, reclaimer.into(), memory.into(), verdict))
                    .or_default();
            }
        }
    }
    for row in input.rows() {
        let name = &row.name;
        for verdict in Verdict::ALL {
            let c = row.counts[verdict as usize];
            if c.folios > 0 {
                let (road, reclaimer) = (name.road.clone(), name.reclaimer.clone());
                let sums = by
                    .entry((road, reclaimer, name.memory.clone(), verdict))
                    .or_default();
                sums.folios = sums.folios.saturating_add(c.folios);
                sums.pages = sums.pages.saturating_add(c.pages);
            }
        }
    }
    by
}

/// The times by reclaimer and verdict.
fn times(input: &Input<'_>) -> BTreeMap<(Reclaimer, Verdict), Histogram> {
    let measured = input.measured();
    let mut by: BTreeMap<_, Histogram> = BTreeMap::new();
    let mut add = |reclaimer, verdict, h: &Histogram| {
        if h.buckets.iter().any(|n| *n > 0) {
            let row = (measured.reclaimer(reclaimer), measured.attribute(verdict));
            let to = by.entry(row).or_default();
            *to = merged(to, h);
        }
    };
    let apart = &input.snapshot.unmap_ns_by_reclaimer;
    for ((reclaimer, verdict), h) in apart {
        add(*reclaimer, *verdict, h);
    }
    let together = &input.snapshot.unmap_ns;
    if apart.is_empty() && together.values().any(|h| h.buckets.iter().any(|n| *n > 0)) {
        for (verdict, h) in together {
            add(Reclaimer::Unknown, *verdict, h);
        }
        return by;
    }
    for reclaimer in USUAL {
        let usual = |v: &Verdict| v.is_futile() || *v == Verdict::Freed;
        for verdict in verdicts(measured).filter(usual) {
            by.entry((measured.reclaimer(reclaimer), verdict))
                .or_default();
        }
    }
    by
}

/// The newest individual unmap of each bucket.
fn exemplars(input: &Input<'_>, reclaimer: Reclaimer, verdict: Verdict) -> Vec<(usize, Example)> {
    let measured = input.measured();
    let of = |said: &Word<Reclaimer>| {
        let said = said.known().map(|r| measured.reclaimer(r));
        // A recording without times by reclaimer has all times under one.
        reclaimer == Reclaimer::Unknown || said == Some(reclaimer)
    };
    let events = input.events.iter();
    let mut found: BTreeMap<usize, Example> = BTreeMap::new();
    for event in events.filter(|e| e.verdict == verdict && of(&e.reclaimer)) {
        let mut labels = vec![
            ("reclaimer_comm", end_of(&event.reclaimer_comm, 16)),
            ("memory", end_of(event.memory.as_str(), 16)),
        ];
        if let Some(cgroup) = event.victim.as_ref().and_then(|v| v.cgroup.as_ref()) {
            labels.push(("cgroup", end_of(cgroup, 48)));
        }
        let example = Example {
            value: Of::Times.scale(event.unmap_ns),
            at: input.time_at(event.elapsed),
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
