//! The dashboard of Grafana.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{promql::selectors, rules::known_series, support::text};

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/pinscope.json")).unwrap()
}

/// Calls `visit` with each object of a value.
fn objects<'a>(value: &'a Value, visit: &mut impl FnMut(&'a serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            visit(map);
            map.values().for_each(|v| objects(v, visit));
        }
        Value::Array(all) => all.iter().for_each(|v| objects(v, visit)),
        _ => {}
    }
}

#[test]
fn the_data_source_is_a_variable() {
    let dashboard = dashboard();
    let mut sources = 0;
    objects(&dashboard, &mut |map| {
        if let Some(source) = map.get("datasource").filter(|s| s["type"] == "prometheus") {
            sources += 1;
            assert_eq!(source["uid"], "${datasource}", "{map:?}");
        }
        if map.contains_key("expr") && map.contains_key("refId") {
            assert!(map.contains_key("datasource"), "{map:?}");
        }
    });
    assert!(sources > 60, "{sources}");
    assert!(dashboard.get("__inputs").is_none());
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!(variable["name"], "datasource");
    assert_eq!(variable["type"], "datasource");
}

#[test]
fn one_host_is_shown() {
    let dashboard = dashboard();
    let list = dashboard["templating"]["list"].as_array().unwrap();
    let instance = list.iter().find(|v| v["name"] == "instance").unwrap();
    assert_eq!(instance["multi"], false);
    assert_eq!(instance["includeAll"], false);
    objects(&dashboard["panels"], &mut |map| {
        let Some(expression) = map.get("expr").and_then(Value::as_str) else {
            return;
        };
        // Of the fleet there are sums, counts and the ten worst.
        let bounded = expression.contains("instance=\"$instance\"")
            || ["count", "topk(10, "]
                .iter()
                .any(|w| expression.starts_with(w))
            || expression.starts_with("job:")
            || expression.starts_with("ALERTS");
        assert!(bounded, "{expression} has a row for each host");
    });
}

#[test]
fn panels_are_distinct_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["id"]);
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            assert!(x < 24, "{}", panel["title"]);
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
        let mut letters = BTreeSet::new();
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert!(
                letters.insert(target["refId"].to_string()),
                "{}",
                panel["title"]
            );
        }
    }
}

#[test]
fn queries_ask_only_for_what_is_exported() {
    let dashboard = dashboard();
    let known = known_series();
    let mut recorded = 0;
    objects(&dashboard, &mut |map| {
        let query = map.get("expr").or_else(|| map.get("definition"));
        let Some(query) = query.and_then(Value::as_str) else {
            return;
        };
        for selector in selectors(query) {
            assert!(known.contains(&selector.name), "nothing exports {selector}");
            recorded += usize::from(selector.name.contains(':'));
        }
    });
    assert!(recorded >= 15, "{recorded} queries use the recording rules");
}

#[test]
fn latencies_have_exemplars() {
    let dashboard = dashboard();
    let mut with = 0;
    objects(&dashboard["panels"], &mut |map| {
        let expression = map.get("expr").and_then(Value::as_str).unwrap_or_default();
        if expression.contains("histogram_quantile") {
            assert_eq!(map["exemplar"], true, "{expression}");
            // Exemplars belong to scraped series; rules drop them.
            assert!(
                expression.contains("pinscope_unmap_seconds_bucket"),
                "{expression}"
            );
            with += 1;
        }
    });
    assert_eq!(with, 5);
}
