//! Metrics of pinscope's BPF programs: their cost by the kernel's own statistics.

use super::labels::PROGRAM;
use crate::render::metrics::{
    family::{Kind, Metric, Unit},
    value::Value,
};

pub(super) static TIME: Metric = Metric {
    name: "pinscope_bpf_run",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "Time in pinscope's BPF programs, from the kernel's own statistics",
    details: "",
    labels: &[PROGRAM],
    needs: &[],
    option: Some("--self-cost"),
    collect: |input, family| {
        for p in input.programs {
            family.push([p.name.clone()], Value::Number(p.seconds));
        }
    },
};

pub(super) static RUNS: Metric = Metric {
    name: "pinscope_bpf_runs",
    unit: Unit::Of("runs"),
    kind: Kind::Counter,
    help: "Runs of pinscope's BPF programs, from the kernel's own statistics",
    details: "",
    labels: &[PROGRAM],
    needs: &[],
    option: Some("--self-cost"),
    collect: |input, family| {
        for p in input.programs {
            family.push([p.name.clone()], Value::Count(p.runs));
        }
    },
};
