//! The metric of what pinscope lost.

use super::labels::MAP;
use crate::render::metrics::{
    family::{Kind, Metric, Unit},
    value::Value,
};

pub(super) static LOST: Metric = Metric {
    name: "pinscope_events_lost",
    unit: Unit::Of("losses"),
    kind: Kind::Counter,
    help: "Counts that found a map full, failed reads, and dropped events, by map; counts of \
           groups, victims and subscribers go to `other`, the rest make counters too low",
    details: "",
    labels: &[MAP],
    needs: &[],
    option: None,
    collect: |input, family| {
        let lost = &input.snapshot.lost;
        for (map, n) in [
            ("tasks", lost.tasks),
            ("groups", lost.groups),
            ("victims", lost.victims),
            ("mappings", lost.mappings),
            ("folios", lost.folios),
            ("subscribers", lost.subscribers),
            ("events", lost.events),
            ("reads", lost.reads),
        ] {
            family.push([map.to_owned()], Value::Count(n));
        }
    },
};
