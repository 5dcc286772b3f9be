//! The rules of Prometheus: what they ask for is exported, and each alert has a runbook.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    promql::selectors,
    support::{text, yaml},
};

/// Returns the names of all series that the exporter and the recording rules make.
pub(crate) fn known_series() -> BTreeSet<String> {
    let mut known: BTreeSet<String> = ["up".to_owned()].into();
    // The rows are `name` | type | labels | …
    let reference = pinscope::render::metrics::reference();
    for row in reference.lines().filter(|l| l.starts_with("| `")) {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let name = cells.next().unwrap().trim_matches('`').to_owned();
        let kind = cells.next().unwrap_or_default();
        if kind.starts_with("histogram") {
            known.insert(format!("{name}_bucket"));
        }
        if kind.starts_with("histogram") || kind.starts_with("summary") {
            known.insert(format!("{name}_sum"));
            known.insert(format!("{name}_count"));
        } else {
            known.insert(name);
        }
    }
    known.extend(
        rules()
            .iter()
            .filter_map(|r| r["record"].as_str().map(str::to_owned)),
    );
    known
}

/// Returns all rules.
pub(crate) fn rules() -> Vec<Value> {
    ["recording", "alerts"]
        .iter()
        .flat_map(|name| yaml(&text(&format!("deploy/prometheus/{name}.rules.yml"))))
        .flat_map(|file| file["groups"].as_array().unwrap().clone())
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

fn alerts() -> Vec<Value> {
    rules()
        .into_iter()
        .filter(|r| r["alert"].is_string())
        .collect()
}

#[test]
fn rules_ask_only_for_what_is_exported() {
    let known = known_series();
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap();
        let found = selectors(expression);
        assert!(!found.is_empty(), "{expression}");
        for selector in found {
            assert!(
                known.contains(&selector.name),
                "nothing exports {selector}: {rule}"
            );
        }
    }
}

/// A rule that nothing uses costs every fleet that loads it.
#[test]
fn every_recorded_series_is_used() {
    let dashboard = text("deploy/grafana/pinscope.json");
    let all: Vec<String> = rules()
        .iter()
        .map(|r| r["expr"].as_str().unwrap().to_owned())
        .collect();
    for rule in rules() {
        let Some(name) = rule["record"].as_str() else {
            continue;
        };
        let used = dashboard.contains(name)
            || all
                .iter()
                .any(|e| selectors(e).iter().any(|s| s.name == name));
        // For people who look further.
        let offered = ["mean_rate5m", "p99_rate5m", "job:pinscope_unmaps:rate5m"]
            .iter()
            .any(|o| name.ends_with(o));
        assert!(used || offered, "{name}");
    }
}

#[test]
fn alerts_are_of_a_job_and_not_of_a_host() {
    for alert in alerts() {
        let expression = alert["expr"].as_str().unwrap();
        let of_a_job = expression.starts_with("count by (cluster, job")
            || expression == "absent(up{job=\"pinscope\"})";
        assert!(of_a_job, "{alert}");
        assert!(
            !alert["annotations"]
                .to_string()
                .contains("$labels.instance"),
            "{alert}"
        );
        assert!(alert["for"].is_string(), "{alert}");
    }
}

#[test]
fn every_alert_has_a_runbook_and_a_test() {
    let runbooks = text("docs/runbooks.md");
    let tests = text("deploy/prometheus/rules_test.yml");
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap().to_owned();
        let anchor = name.to_lowercase();
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(
            url.ends_with(&format!("/docs/runbooks.md#{anchor}")),
            "{url}"
        );
        assert!(
            runbooks.contains(&format!("\n## {name}\n")),
            "no runbook: {name}"
        );
        let severity = alert["labels"]["severity"].as_str().unwrap();
        let row = format!("| [{name}](#{anchor}) | {severity} |");
        assert!(runbooks.contains(&row), "the table lacks {row}");
        assert!(
            tests.contains(&format!("  - name: {name} fires\n")),
            "no test: {name}"
        );
        names.insert(name);
    }
    for heading in runbooks.lines().filter_map(|l| l.strip_prefix("## ")) {
        assert!(names.contains(heading), "no alert is called {heading}");
    }
}
