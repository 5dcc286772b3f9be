//! Metrics of the exporter's process, under the names that Prometheus clients share.

use crate::render::metrics::{
    family::{Kind, Metric, Unit},
    value::Value,
};

pub(super) static CPU: Metric = Metric {
    name: "process_cpu",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "User and system time of the exporter",
    details: "",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| {
        // It counts since the process started, not since the probes were attached.
        match (input.process.cpu_seconds, input.process.start) {
            (Some(seconds), Some(start)) => family.push_since([], Value::Number(seconds), start),
            (Some(seconds), None) => family.push([], Value::Number(seconds)),
            (None, _) => {}
        }
    },
};

pub(super) static RESIDENT_MEMORY: Metric = Metric {
    name: "process_resident_memory",
    unit: Unit::Bytes,
    kind: Kind::Gauge,
    help: "Resident memory of the exporter",
    details: "",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| {
        if let Some(bytes) = input.process.resident_bytes {
            family.push([], Value::Count(bytes));
        }
    },
};

pub(super) static OPEN_FDS: Metric = Metric {
    name: "process_open_fds",
    unit: Unit::Of("descriptors"),
    kind: Kind::Gauge,
    help: "Open file descriptors of the exporter",
    details: "",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| {
        if let Some(fds) = input.process.open_fds {
            family.push([], Value::Count(fds));
        }
    },
};

pub(super) static START_TIME: Metric = Metric {
    name: "process_start_time",
    unit: Unit::Seconds,
    kind: Kind::Gauge,
    help: "Start time of the exporter, in seconds since 1970",
    details: "",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| {
        if let Some(start) = input.process.start {
            family.push([], Value::Number(start));
        }
    },
};
