//! Metrics of the exporter itself, and of the host beside the probes.

use probe_ebpf::Hook;

use crate::render::metrics::{
    family::{Kind, Label, Metric, Unit},
    value::Value,
};

pub(super) static BUILD: Metric = Metric {
    name: "pinscope_build",
    unit: Unit::Of("always 1"),
    kind: Kind::Info,
    help: "The version of pinscope that runs, the kernel, and how try_to_unmap is attached",
    details: "",
    labels: &[
        Label {
            name: "version",
            meaning: "the version of pinscope",
        },
        Label {
            name: "kernel",
            meaning: "the kernel's release, as `uname -r` prints it",
        },
        super::labels::ATTACH,
    ],
    needs: &[],
    option: None,
    collect: |input, family| {
        let mut hooks = input.snapshot.hooks.iter();
        let unmap = hooks.find(|hook| hook.name == Hook::Unmap.name());
        let attach = unmap.and_then(|hook| hook.attach);
        let labels = [
            env!("CARGO_PKG_VERSION").to_owned(),
            input.kernel.to_owned(),
            attach.map_or("", |a| a.name()).to_owned(),
        ];
        family.push(labels, Value::Count(1));
    },
};

pub(super) static SERIES_DROPPED: Metric = Metric {
    name: "pinscope_series_dropped",
    unit: Unit::Of("series"),
    kind: Kind::Counter,
    help: "Series dropped because they exceed --max-series, added up over all samples",
    details: "The table is in the order of worth: the budget drops from its end, and never what \
              comes before `pinscope_unmaps_total`.",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| family.push([], Value::Count(input.dropped)),
};

pub(super) static READS: Metric = Metric {
    name: "pinscope_read",
    unit: Unit::Seconds,
    kind: Kind::Summary,
    help: "Time that reading the kernel's counters took, once for each page",
    details: "",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| {
        let (count, sum) = (input.reads.count, input.reads.seconds);
        if count > 0 {
            family.push([], Value::Summary { count, sum });
        }
    },
};

pub(super) static PINNED_PAGES: Metric = Metric {
    name: "pinscope_pinned_pages",
    unit: Unit::Of("pins of pages"),
    kind: Kind::Gauge,
    help: "Pins that the whole host holds now: nr_foll_pin_acquired less nr_foll_pin_released of \
           /proc/vmstat",
    details: "A page that is pinned twice counts twice. Absent where the kernel does not count pins.",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| {
        if let Some(pages) = input.pinned_pages {
            family.push([], Value::Count(pages));
        }
    },
};
