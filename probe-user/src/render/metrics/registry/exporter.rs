//! Metrics of the exporter itself.

use crate::render::metrics::{
    family::{Kind, Label, Metric, Unit},
    value::Value,
};

pub(super) static BUILD: Metric = Metric {
    name: "pinscope_build",
    unit: Unit::Of("always 1"),
    kind: Kind::Info,
    help: "The version of pinscope that runs",
    details: "",
    labels: &[Label {
        name: "version",
        meaning: "the version of pinscope",
    }],
    needs: &[],
    option: None,
    collect: |_, family| family.push([env!("CARGO_PKG_VERSION").to_owned()], Value::Count(1)),
};

pub(super) static SERIES_DROPPED: Metric = Metric {
    name: "pinscope_series_dropped",
    unit: Unit::Of("series"),
    kind: Kind::Counter,
    help: "Series dropped because they exceed --max-series, added up over all samples",
    details: "The table is in the order of worth: the budget drops from its end.",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| family.push([], Value::Count(input.dropped)),
};
