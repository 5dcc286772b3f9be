//! The metric of the costliest cgroups.

use probe_ebpf::{Hook, Verdict};

use super::labels::VERDICT;
use crate::render::metrics::{
    family::{Kind, Label, Metric, Unit},
    value::Value,
};

pub(super) static UNMAPS: Metric = Metric {
    name: "pinscope_cgroup_unmaps",
    unit: Unit::Of("folios"),
    kind: Kind::Counter,
    help: "Folios that reclaim unmapped from processes of the costliest cgroups, by verdict",
    details: "The cgroups with a series may change: see [Limits](#limits).",
    labels: &[
        Label {
            name: "cgroup",
            meaning: "the path of one of the N cgroups with most futile unmaps; `other` for the \
                      rest, `unknown` for processes whose cgroup has no name",
        },
        VERDICT,
    ],
    needs: &[Hook::UnmapOne],
    option: Some("--cgroups N"),
    collect: |input, family| {
        let Some(top) = input.cgroups else {
            return;
        };
        let measured = input.measured();
        for (name, folios) in top.counts() {
            for verdict in Verdict::ALL.into_iter().filter(|v| measured.verdict(*v)) {
                let n = Verdict::ALL
                    .into_iter()
                    .filter(|v| measured.attribute(*v) == verdict)
                    .fold(0, |n: u64, v| n.saturating_add(folios[v as usize]));
                if n > 0 || verdict.is_futile() {
                    let labels = [name.to_owned(), verdict.name().to_owned()];
                    family.push(labels, Value::Count(n));
                }
            }
        }
    },
};
