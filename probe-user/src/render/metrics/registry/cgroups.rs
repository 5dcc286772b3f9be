//! The metrics of the costliest cgroups. Each has a series for each verdict from the page on on
//! which the cgroup gets its place.

use probe_ebpf::{Hook, Verdict};

use super::{labels::VERDICT, unmaps::verdicts};
use crate::{
    model::{container::ContainerPath, ranking::Usage},
    render::metrics::{
        family::{Family, Kind, Label, Metric, Unit},
        input::Page,
        value::Value,
    },
};

const LABELS: &[Label] = &[
    Label {
        name: "cgroup",
        meaning: "the path of one of the N cgroups with most futile unmaps of late; `other` for the \
                  rest and those that are gone, `unknown` for processes whose cgroup has no name",
    },
    Label {
        name: "pod",
        meaning: "the UID of the Kubernetes pod that the path names; else empty",
    },
    Label {
        name: "container",
        meaning: "the id of the container that the path names; else empty",
    },
    VERDICT,
];

const DETAILS: &str = "The sum over all cgroups is that of reclaim. The cgroups with a series may \
                       change: see [Limits](#limits).";

const fn metric(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    collect: fn(&Page<'_>, &mut Family),
) -> Metric {
    Metric {
        name,
        unit,
        kind: Kind::Counter,
        help,
        details: DETAILS,
        labels: LABELS,
        needs: &[Hook::UnmapOne],
        option: Some("--cgroups N"),
        collect,
    }
}

pub(super) static UNMAPS: Metric = metric(
    "pinscope_cgroup_unmaps",
    Unit::Of("folios"),
    "Folios that reclaim unmapped from processes of the costliest cgroups, by verdict",
    |input, family| collect(input, family, |u, v| u[v].folios, Value::Count),
);

pub(super) static PAGES: Metric = metric(
    "pinscope_cgroup_unmapped_pages",
    Unit::Of("pages"),
    "Pages of these folios",
    |input, family| collect(input, family, |u, v| u[v].pages, Value::Count),
);

pub(super) static TIME: Metric = metric(
    "pinscope_cgroup_unmap",
    Unit::Seconds,
    "Time in try_to_unmap for these folios",
    |input, family| {
        collect(
            input,
            family,
            |u, v| u[v].ns,
            |ns| Value::Number(ns as f64 / 1e9),
        );
    },
);

fn collect(
    input: &Page<'_>,
    family: &mut Family,
    count: impl Fn(&Usage, usize) -> u64,
    value: impl Fn(u64) -> Value,
) {
    let Some(top) = input.cgroups else {
        return;
    };
    let measured = input.measured();
    for (name, since, usage) in top.counts() {
        let path = ContainerPath::read(name);
        let since = input.time_at(since);
        for verdict in verdicts(measured) {
            let n = Verdict::ALL
                .into_iter()
                .filter(|v| measured.attribute(*v) == verdict)
                .fold(0, |n: u64, v| n.saturating_add(count(usage, v as usize)));
            let labels = [
                name.to_owned(),
                path.pod.clone(),
                path.container.clone(),
                verdict.name().to_owned(),
            ];
            family.push_since(labels, value(n), since);
        }
    }
}
