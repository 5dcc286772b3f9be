//! What `increase()` of a real Prometheus server shows of a burst is what the workload did, although
//! most of its counters had never counted before.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use pinscope::provoke::Truth;

use crate::{
    export::{EXPORTER, Server, ended, exporter, get, no_prometheus, wait},
    support::{Check, run},
    test_unless,
};

/// The time between scrapes, in seconds.
const INTERVAL: u32 = 3;
/// `increase()` extrapolates to the ends of its range: by half an interval where the range begins
/// before the first sample, and by the time since the last sample.
const EXTRAPOLATED: f64 = 1.6;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test_unless(
        no_prometheus(),
        "export_to_prometheus_has_true_rates",
        rates,
    )]
}

/// A cgroup that is removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Result<Self> {
        let path = Path::new("/sys/fs/cgroup").join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn provoke(&self, scenario: &str, pages: u32, rounds: u32) -> Result<Truth> {
        let script = format!(
            "echo $$ >{}/cgroup.procs; \
             exec workload run {scenario} --pages {pages} --rounds {rounds} --json",
            self.0.display()
        );
        let ran = run(&["sh", "-c", &script])?;
        ran.expect_code(0)?;
        ran.json()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn rates() -> Result<()> {
    let exporter = exporter(&["--cgroups", "2"])?;
    let known = Cgroup::new("rates-known")?;
    let new = Cgroup::new("rates-new")?;
    // One cgroup has its place before the first scrape.
    known.provoke("memfd-pin", 8, 1)?;
    wait("the place", || {
        let metrics = get(EXPORTER, "/metrics", "text/plain")?;
        ensure!(metrics.contains("\"/rates-known\""), "{metrics}");
        Ok(())
    })?;
    let server = Server::start(&format!("{INTERVAL}s"), &[], &[])?;
    let pinned = "sum(pinscope_unmaps_total{verdict=\"futile_pinned\"})";
    wait("the first scrape", || {
        let seen = server.value(pinned)?;
        ensure!(seen == 8.0, "{seen}");
        Ok(())
    })?;
    let truths = [
        known.provoke("memfd-pin", 128, 4)?,
        known.provoke("memfd-get", 96, 3)?,
        new.provoke("memfd-half-pin", 64, 2)?,
        new.provoke("lazyfree-pin", 64, 2)?,
        new.provoke("lazyfree-none", 64, 2)?,
        new.provoke("memfd-none", 64, 2)?,
    ];
    // The exporter is left alone: another client might get the page on which a series begins at 0.
    let all: u64 = truths.iter().map(|t| t.unmaps_expected).sum();
    wait("the last scrape", || {
        let seen = server.value("sum(pinscope_unmaps_total{reclaimer=\"madvise\"})")?;
        ensure!(seen >= (8 + all) as f64, "{seen} of {all}");
        Ok(())
    })?;
    // What began at 0 on the last page has its value on the next.
    std::thread::sleep(Duration::from_secs(u64::from(2 * INTERVAL)));

    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut expect = |query: String, n: u64| *expected.entry(query).or_default() += n;
    for (i, truth) in truths.iter().enumerate() {
        for e in &truth.expected {
            let words = serde_json::to_value(&e.verdicts)?;
            let words = words.as_array().into_iter().flatten();
            let verdicts: Vec<&str> = words.filter_map(|v| v.as_str()).collect();
            let verdict = format!("verdict=~\"{}\"", verdicts.join("|"));
            for name in ["unmaps", "unmapped_pages"] {
                let labels = format!(
                    "road=\"reclaim\",reclaimer=\"{}\",memory=\"{}\",{verdict}",
                    e.reclaimer, e.memory
                );
                expect(format!("pinscope_{name}_total{{{labels}}}"), e.min);
                // The first two were in the cgroup that had its place.
                if i < 2 {
                    let labels = format!("cgroup=\"/rates-known\",{verdict}");
                    expect(format!("pinscope_cgroup_{name}_total{{{labels}}}"), e.min);
                }
            }
            // These verdicts are not apart for all kinds of memory.
            let verdict = if verdict.contains("freed") {
                "verdict=~\"freed|writeback\""
            } else {
                &verdict
            };
            let labels = format!("reclaimer=\"{}\",{verdict}", e.reclaimer);
            expect(format!("pinscope_unmap_seconds_count{{{labels}}}"), e.min);
            if verdict.contains("futile") {
                expect("pinscope_excess_references_count".to_owned(), e.min);
            }
            if let (Some(calls), [_]) = (truth.notifier_calls_expected, &truth.expected[..]) {
                expect(
                    "pinscope_notifier_seconds_count{subscriber=~\"kvm.*\"}".to_owned(),
                    calls,
                );
                expect("pinscope_notifier_calls_total".to_owned(), calls);
            }
        }
    }
    ensure!(expected.len() > 15, "{expected:?}");
    let samples = server.value("count_over_time(up[5m])")?;
    let slack = 1.0 + EXTRAPOLATED / (samples - 1.0);
    let mut check = Check::default();
    for (series, truth) in &expected {
        let truth = *truth as f64;
        let seen = server.value(&format!("sum(increase({series}[5m]))"))?;
        check.that(truth - 0.01 <= seen && seen <= truth * slack, || {
            format!(
                "{series}: {seen} seen, {truth} expected, up to {}",
                truth * slack
            )
        });
    }
    // Every count of the last scrape is in one cgroup's row.
    for (of, total) in [
        ("pinscope_cgroup_unmaps_total", "pinscope_unmaps_total"),
        (
            "pinscope_cgroup_unmapped_pages_total",
            "pinscope_unmapped_pages_total",
        ),
        (
            "pinscope_cgroup_unmap_seconds_total",
            "pinscope_unmap_seconds_sum",
        ),
    ] {
        let [rows, all] = [of, total].map(|name| server.value(&format!("sum({name})")));
        let (rows, all) = (rows?, all?);
        check.that((rows - all).abs() < 1e-6, || {
            format!("{of}: {rows} of {all}")
        });
    }
    check.done(&serde_json::json!(get(EXPORTER, "/metrics", "text/plain")?))?;
    ended(exporter)
}
