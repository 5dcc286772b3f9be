//! All metrics, one definition each, grouped by subject.
//!
//! To add a metric, define it in the file of its subject, give it its place in [`METRICS`], and
//! run `cargo xtask sync` for docs/numbers.md.

mod cgroups;
mod exporter;
mod hooks;
mod labels;
mod losses;
mod maps;
mod notifiers;
mod process;
mod programs;
mod reload;
mod unmaps;

use super::{
    family::{Family, Metric},
    input::{Input, Page},
};

/// All metrics, those of most worth first: the series budget keeps what comes first. What comes
/// before the unmaps has fewer series than the smallest budget, so it is never dropped.
pub static METRICS: &[&Metric] = &[
    &exporter::BUILD,
    &reload::SUPPORTED,
    &exporter::SERIES_DROPPED,
    &reload::SUCCESSFUL,
    &reload::SUCCESS_TIME,
    &hooks::ACTIVE,
    &losses::LOST,
    &hooks::MISSED,
    &unmaps::UNMAPS,
    &notifiers::CALLS,
    &notifiers::TIMES,
    &process::CPU,
    &process::RESIDENT_MEMORY,
    &process::OPEN_FDS,
    &process::START_TIME,
    &exporter::READS,
    &exporter::PINNED_PAGES,
    &maps::ENTRIES,
    &maps::MAX_ENTRIES,
    &hooks::INFO,
    &unmaps::PAGES,
    &unmaps::EXCESS_REFERENCES,
    &unmaps::TIMES,
    &programs::TIME,
    &programs::RUNS,
    &cgroups::UNMAPS,
    &cgroups::PAGES,
    &cgroups::TIME,
];

/// Collects all metrics that have series, in the order of [`METRICS`]. A metric whose hooks are
/// not attached is absent.
pub fn families(input: &Input<'_>) -> Vec<Family> {
    let page = Page::new(input);
    let measured = page.measured();
    METRICS
        .iter()
        .filter(|metric| metric.needs.iter().all(|hook| measured.by(*hook)))
        .map(|metric| {
            let mut family = Family::new(metric);
            (metric.collect)(&page, &mut family);
            family
        })
        .filter(|family| !family.series.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use probe_ebpf::{Memory, Reclaimer, Road};

    use super::*;

    #[test]
    fn every_definition_is_complete() {
        let names: BTreeSet<String> = METRICS.iter().map(|m| m.full_name()).collect();
        assert_eq!(names.len(), METRICS.len(), "a name is used twice");
        for metric in METRICS {
            assert!(!metric.help.is_empty(), "{}", metric.name);
            assert!(!metric.help.ends_with('.'), "{}", metric.name);
            let details = metric.details;
            assert!(details.is_empty() || details.ends_with('.'), "{details}");
            for label in metric.labels {
                // The tables of docs/numbers.md describe a label once.
                let same = METRICS.iter().flat_map(|m| m.labels);
                let mut same = same.filter(|l| l.name == label.name);
                assert!(same.all(|l| l == label), "{} differs", label.name);
            }
        }
    }

    #[test]
    fn labels_explain_every_word() {
        let reclaimers = Reclaimer::ALL.map(Reclaimer::name);
        let memory = Memory::ALL.map(Memory::name);
        for (label, words) in [
            (labels::ROAD, &[Road::Reclaim.name()][..]),
            (labels::RECLAIMER, reclaimers.as_slice()),
            (labels::MEMORY, memory.as_slice()),
        ] {
            for word in words {
                let quoted = format!("`{word}`");
                assert!(label.meaning.contains(&quoted), "{}: {word}", label.name);
            }
        }
    }
}
