//! Metrics of the MMU notifiers: how often and how long unmaps called them.

use std::collections::BTreeMap;

use probe_ebpf::{Hook, Road, Verdict};

use super::{
    labels::{ROAD, VERDICT},
    unmaps::verdicts,
};
use crate::{
    render::metrics::{
        family::{Kind, Label, Metric, Unit},
        value::Value,
    },
    words::Word,
};

pub(super) static CALLS: Metric = Metric {
    name: "pinscope_notifier_calls",
    unit: Unit::Of("calls"),
    kind: Kind::Counter,
    help: "MMU notifier calls within unmaps, by the folio's verdict",
    details: "",
    labels: &[ROAD, VERDICT],
    needs: &[Hook::Unmap, Hook::NotifierStart],
    option: None,
    collect: |input, family| {
        let mut by: BTreeMap<(Word<Road>, Verdict), u64> = verdicts(input.measured())
            .map(|v| ((Road::Reclaim.into(), v), 0))
            .collect();
        for row in input.rows() {
            for verdict in Verdict::ALL {
                let c = row.counts[verdict as usize];
                if c.folios > 0 {
                    let sum = by.entry((row.name.road.clone(), verdict)).or_default();
                    *sum = sum.saturating_add(c.notifier_calls);
                }
            }
        }
        for ((road, verdict), calls) in by {
            let labels = [road.to_string(), verdict.name().to_owned()];
            family.push(labels, Value::Count(calls));
        }
    },
};

pub(super) static TIMES: Metric = Metric {
    name: "pinscope_notifier",
    unit: Unit::Seconds,
    kind: Kind::Summary,
    help: "Time of MMU notifier calls within unmaps, by a subscriber that took part",
    details: "An upper bound if subscribers share an mm: see [Limits](#limits).",
    labels: &[Label {
        name: "subscriber",
        meaning: "the symbol of the subscriber's callback, such as \
                  `kvm_mmu_notifier_invalidate_range_start`; `interval notifiers` for subscribers \
                  that the kernel keeps by range, `none found` for calls on an mm whose subscribers \
                  have left, `other` for subscribers that found the map full",
    }],
    needs: &[Hook::Unmap, Hook::NotifierStart],
    option: None,
    collect: |input, family| {
        let known = input.subscribers.iter();
        let mut by: BTreeMap<&str, (u64, u64)> = known.map(|s| (s.as_str(), (0, 0))).collect();
        for s in input.snapshot.subscribers.iter().flatten() {
            let (calls, ns) = by.entry(&s.symbol).or_default();
            *calls = calls.saturating_add(s.calls);
            *ns = ns.saturating_add(s.ns);
        }
        for (symbol, (count, ns)) in by {
            let sum = ns as f64 / 1e9;
            family.push([symbol.to_owned()], Value::Summary { count, sum });
        }
    },
};
