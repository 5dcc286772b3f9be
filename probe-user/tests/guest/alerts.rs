//! The shipped rules and dashboard in a real Prometheus server that scrapes a real exporter: what they
//! ask for exists, an idle host causes no alert, and each alert that can be provoked fires and ends.
//!
//! Minutes are seconds here, in every window of the rules.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use pinscope::provoke::Truth;
use serde_json::Value;

use crate::{
    export::{EXPORTER, Server, ended, exporter, get, no_prometheus, wait},
    promql::{Selector, selectors},
    support::{Check, run, scratch, start},
    test_unless,
};

const RECORDING: &str = include_str!("../../../deploy/prometheus/recording.rules.yml");
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.rules.yml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana/pinscope.json");

/// How much shorter the windows of the rules are than the shipped ones.
const FACTOR: u64 = 60;
/// A function that exists in every kernel and that the kernel forbids to probe.
const FORBIDDEN: &str = "kprobe_int3_handler";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test_unless(
            no_prometheus(),
            "alerts_on_futile_reclaim_and_not_on_an_idle_host",
            reclaim,
        ),
        test_unless(no_prometheus(), "alerts_on_the_exporter_itself", health),
    ]
}

/// Divides every duration of a rules file: those in brackets, and those after `for:` and `offset`.
fn shortened(rules: &str) -> String {
    let mut out = String::new();
    let mut brackets = false;
    for word in rules.split_inclusive([' ', '\n', '[', ']', ':']) {
        let (duration, end) = word.split_at(word.len() - 1);
        let before = out.trim_end();
        let here = brackets || before.ends_with("for:") || before.ends_with("offset");
        match milliseconds(duration).filter(|_| here) {
            Some(long) => out.push_str(&format!("{}ms", long / FACTOR)),
            None => out.push_str(duration),
        }
        out.push_str(end);
        brackets = match end {
            "[" => true,
            "]" => false,
            _ => brackets,
        };
    }
    out
}

/// Parses a duration of Prometheus.
fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        sum += number
            * match &unit[..end] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
        rest = &unit[end..];
    }
    (sum > 0).then_some(sum)
}

/// Starts a server with the rules as they are shipped, but for their times.
fn server() -> Result<Server> {
    let rules = [
        ("recording.yml", shortened(RECORDING)),
        ("alerts.yml", shortened(ALERTS)),
    ];
    let server = Server::start("1s", &rules, &[])?;
    server.until("sum(up) == 1")?;
    Ok(server)
}

impl Server {
    /// Waits until a query yields something.
    fn until(&self, query: &str) -> Result<()> {
        wait(query, || {
            ensure!(!self.query(query)?.is_empty(), "nothing");
            Ok(())
        })
        .with_context(|| {
            let alerts = self.query("ALERTS").unwrap_or_default();
            format!(
                "alerts: {}; {}",
                Value::from(alerts),
                self.running.stderr.so_far()
            )
        })
    }

    /// Waits until an alert fires.
    fn fires(&self, matchers: &str) -> Result<()> {
        self.until(&format!("ALERTS{{alertstate=\"firing\",{matchers}}}"))
    }

    /// Returns the names of the alerts that have ever fired.
    fn fired(&self) -> Result<BTreeSet<String>> {
        let query = "count by (alertname) (count_over_time(ALERTS{alertstate=\"firing\"}[30m]))";
        let names = self.query(query)?;
        names
            .iter()
            .map(|s| {
                Ok(s["metric"]["alertname"]
                    .as_str()
                    .context("no name")?
                    .to_owned())
            })
            .collect()
    }

    /// Complains about each selector that no series of this server has ever matched.
    fn has_all(&self, wanted: &BTreeSet<Selector>, check: &mut Check) -> Result<()> {
        for selector in wanted {
            let found = self.query(&format!("count(last_over_time({selector}[30m]))"))?;
            check.that(!found.is_empty(), || {
                format!("no series matches {selector}")
            });
        }
        Ok(())
    }
}

/// Returns the selectors of all rules. Those of the other alerts' hosts exist only while they fire.
fn of_rules() -> BTreeSet<Selector> {
    // Comments are full of other words.
    let text = |rules: &str| -> String {
        let lines = rules.lines().filter(|l| !l.trim_start().starts_with('#'));
        lines
            .filter(|l| !l.contains("record:"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let annotations = |rules: &str| -> String {
        let mut kept = Vec::new();
        let mut inside = false;
        for line in rules.lines() {
            inside = line.contains("annotations:") || (inside && line.starts_with("          "));
            if !inside {
                kept.push(line);
            }
        }
        kept.join("\n")
    };
    let mut all: BTreeSet<Selector> = selectors(&text(RECORDING)).into_iter().collect();
    all.extend(selectors(&annotations(&text(ALERTS))));
    all.retain(|s| !s.name.ends_with(":alerting"));
    all
}

/// Returns the selectors of all queries of the dashboard.
fn of_dashboard() -> Result<BTreeSet<Selector>> {
    fn collect(value: &Value, all: &mut BTreeSet<Selector>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value.as_str().filter(|_| key == "expr") {
                        Some(query) => all.extend(selectors(
                            &query
                                .replace("$job", "pinscope")
                                .replace("$instance", EXPORTER),
                        )),
                        None => collect(value, all),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|v| collect(v, all)),
            _ => {}
        }
    }
    let mut all = BTreeSet::new();
    collect(&serde_json::from_str(DASHBOARD)?, &mut all);
    ensure!(all.len() > 25, "{all:?}");
    Ok(all)
}

/// An idle host causes no alert. A burst of futile unmaps causes those about reclaim, which are pending
/// first and end after it.
fn reclaim() -> Result<()> {
    let web = scratch("web.yml");
    std::fs::write(&web, "")?;
    let web = format!("--web-config={}", web.display());
    // With everything that rules and dashboard ask for.
    let exporter = exporter(&["--cgroups", "2", "--self-cost", &web])?;
    let server = server()?;
    // Longer than any alert of an idle host would stay pending.
    std::thread::sleep(Duration::from_secs(20));
    let fired = server.fired()?;
    ensure!(fired.is_empty(), "{fired:?} fire on an idle host");
    let mut unmaps = 0;
    let burst = || -> Result<u64> {
        let ran = run(&[
            "workload",
            "run",
            "memfd-pin",
            "--pages",
            "4096",
            "--rounds",
            "4",
            "--json",
        ])?;
        ran.expect_code(0)?;
        Ok(ran.json::<Truth>()?.unmaps_expected)
    };
    // As much as the alert needs in an average of 2 hours, and half as much again.
    while unmaps < 250 * 120 * 3 / 2 {
        unmaps += burst()?;
    }
    let expected = [
        "PinscopeReclaimFutile",
        "PinscopeNotifierStorm",
        "PinscopeFutilePinnedMemory",
    ];
    for name in expected {
        server.fires(&format!("alertname=\"{name}\""))?;
    }
    // An emulated guest may be slow.
    let mut others = server.fired()?;
    others.retain(|name| !expected.contains(&name.as_str()) && name != "PinscopeUnmapSlow");
    ensure!(others.is_empty(), "{others:?} fire too");
    let mut check = Check::default();
    for name in expected {
        let pending =
            format!("count_over_time(ALERTS{{alertname=\"{name}\",alertstate=\"pending\"}}[30m])");
        check.that(!server.query(&pending)?.is_empty(), || {
            format!("{name} was never pending")
        });
    }
    server.has_all(&of_rules_of_healthy_hosts(), &mut check)?;
    server.has_all(&of_dashboard()?, &mut check)?;
    check.done(&Value::Null)?;
    server.until("absent(ALERTS{alertname=\"PinscopeReclaimFutile\",alertstate=\"firing\"})")?;
    ended(exporter)
}

/// Returns the selectors of the rules, without the state of a hook that no healthy host has.
fn of_rules_of_healthy_hosts() -> BTreeSet<Selector> {
    let mut all = of_rules();
    all.retain(|s| !s.matchers.contains("\"failed\""));
    all
}

/// Faults of the exporter cause the alerts about them, and what is off by choice causes none.
fn health() -> Result<()> {
    let web = scratch("web.yml");
    std::fs::write(&web, "")?;
    let path = Path::new(&web).to_owned();
    let web = format!("--web-config={}", web.display());
    let forbidden = format!("--hook=remove_mapping={FORBIDDEN}");
    let flags = [
        "--attach=kprobe",
        &forbidden,
        "--hook=write_folio=off",
        "--max-series=600",
        &web,
    ];
    let first = exporter(&flags)?;
    let server = server()?;
    std::fs::write(&path, "nonsense: true\n")?;
    server.fires("alertname=\"PinscopeDegraded\",hook=\"remove_mapping\"")?;
    server.fires("alertname=\"PinscopeSeriesDropped\"")?;
    server.fires("alertname=\"PinscopeReloadFailed\"")?;
    let mut check = Check::default();
    server.has_all(
        &["failed", "disabled"]
            .map(|state| Selector {
                name: "pinscope_hook_info".to_owned(),
                matchers: format!("{{state=\"{state}\"}}"),
            })
            .into(),
        &mut check,
    )?;
    for hook in ["write_folio", "notifier_end", "page_ref_freeze"] {
        let ever = format!("count_over_time(ALERTS{{hook=\"{hook}\"}}[30m])");
        check.that(server.query(&ever)?.is_empty(), || {
            format!("an alert about {hook}")
        });
    }
    check.done(&Value::Null)?;
    ended(first)?;
    server.fires("alertname=\"PinscopeDown\"")?;
    // A host that cannot be measured.
    let second = start(&[
        "pinscope",
        "export",
        "--hook=try_to_unmap=no_such_symbol",
        "--on-unsupported=serve",
    ])?;
    wait("the exporter", || get(EXPORTER, "/healthz", "*/*"))?;
    server.fires("alertname=\"PinscopeNotMeasuring\"")?;
    server.until("absent(ALERTS{alertname=\"PinscopeDown\",alertstate=\"firing\"})")?;
    ended(second)?;
    let _ = std::fs::remove_file(path);
    Ok(())
}
