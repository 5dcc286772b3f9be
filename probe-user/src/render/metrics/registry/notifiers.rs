//! Metrics of the MMU notifiers: how often and how long reclaim's unmaps called them.

use std::collections::BTreeMap;

use probe_ebpf::{Hook, Verdict};

use super::labels::VERDICT;
use crate::render::metrics::{
    buckets,
    family::{Kind, Label, Metric, Unit},
    value::Value,
};

pub(super) static CALLS: Metric = Metric {
    name: "pinscope_notifier_calls",
    unit: Unit::Of("calls"),
    kind: Kind::Counter,
    help: "MMU notifier calls within reclaim's unmaps, by the folio's verdict",
    details: "",
    labels: &[VERDICT],
    needs: &[Hook::Unmap, Hook::NotifierStart],
    option: None,
    collect: |input, family| {
        let measured = input.measured();
        // A verdict that the attached hooks can give starts at 0.
        let mut by: BTreeMap<Verdict, u64> = Verdict::ALL
            .into_iter()
            .filter(|v| *v != Verdict::Undecided && measured.verdict(*v))
            .map(|v| (v, 0))
            .collect();
        for row in input.rows() {
            for verdict in Verdict::ALL {
                let c = row.counts[verdict as usize];
                if c.folios > 0 {
                    let sum = by.entry(verdict).or_default();
                    *sum = sum.saturating_add(c.notifier_calls);
                }
            }
        }
        for (verdict, calls) in by {
            family.push([verdict.name().to_owned()], Value::Count(calls));
        }
    },
};

pub(super) static TIMES: Metric = Metric {
    name: "pinscope_notifier",
    unit: Unit::Seconds,
    kind: Kind::Histogram,
    help: "Time of MMU notifier calls within reclaim's unmaps, by a subscriber that took part; \
           only sum and count are known",
    details: "An upper bound if subscribers share an mm: see [Limits](#limits).",
    labels: &[Label {
        name: "subscriber",
        meaning: "the symbol of the subscriber's callback, such as \
                  `kvm_mmu_notifier_invalidate_range_start`",
    }],
    needs: &[Hook::Unmap, Hook::NotifierStart],
    option: None,
    collect: |input, family| {
        let mut by: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for s in input.snapshot.subscribers.iter().flatten() {
            let (calls, ns) = by.entry(&s.symbol).or_default();
            *calls = calls.saturating_add(s.calls);
            *ns = ns.saturating_add(s.ns);
        }
        for (symbol, (calls, ns)) in by {
            let value = buckets::undistributed(calls, ns as f64 / 1e9);
            family.push([symbol.to_owned()], Value::Histogram(Box::new(value)));
        }
    },
};
