//! Metrics of the kernel side's maps: how full they are. A recording does not store it.

use crate::{
    render::metrics::{
        family::{Kind, Metric, Unit},
        value::Value,
    },
    snapshot::MapUse,
};

use super::labels::MAP;

pub(super) static ENTRIES: Metric = Metric {
    name: "pinscope_map_entries",
    unit: Unit::Of("keys"),
    kind: Kind::Gauge,
    help: "Keys in a map of the kernel side",
    details: "A count that has no room for a key of its own is counted under a shared one, or lost: \
              see `pinscope_events_lost_total`.",
    labels: &[MAP],
    needs: &[],
    option: None,
    collect: |input, family| {
        for MapUse { map, entries, .. } in &input.snapshot.maps {
            family.push([(*map).to_owned()], Value::Count(*entries));
        }
    },
};

pub(super) static MAX_ENTRIES: Metric = Metric {
    name: "pinscope_map_max_entries",
    unit: Unit::Of("keys"),
    kind: Kind::Gauge,
    help: "The keys that the map has room for",
    details: "",
    labels: &[MAP],
    needs: &[],
    option: None,
    collect: |input, family| {
        for MapUse { map, max, .. } in &input.snapshot.maps {
            family.push([(*map).to_owned()], Value::Count(*max));
        }
    },
};
