//! The page of metrics: three formats with the same numbers.

use std::collections::BTreeMap;
use std::{io::Write, net::TcpStream, process::Stdio, thread::sleep, time::Duration};

use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
use prost::Message;

use crate::support::*;

#[test]
fn promtool_accepts_the_page() {
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    let exporter = Exporter::start(&["--cgroups", "3", "--interval", "10ms"]).at_the_end();
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = exporter.metrics();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    passed(&output);
    assert!(
        output.stderr.is_empty() && output.stdout.is_empty(),
        "{output:?}"
    );
}

/// Classic buckets, sums and counts are the same in all formats; native buckets add up to them.
#[test]
fn every_format_has_the_same_numbers() {
    let exporter = Exporter::start(&["--interval", "10ms"]).at_the_end();
    // The recording is at its end, so all formats show the same sample.
    let (_, head, open) = exporter.get("/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    let open = String::from_utf8(open).unwrap();
    assert!(open.ends_with("# EOF\n") && open.contains(" # {reclaimer_comm="));
    let (mut created, open): (BTreeMap<_, _>, _) = samples(&open)
        .into_iter()
        .partition(|(k, _)| name_of(k).ends_with("_created"));
    // Each page takes a read of its own.
    let counted = |samples: BTreeMap<String, f64>| -> BTreeMap<String, f64> {
        let own = |k: &String| k.starts_with("pinscope_") && !k.starts_with("pinscope_read_");
        samples.into_iter().filter(|(k, _)| own(k)).collect()
    };
    let plain = exporter.metrics();
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT") && !plain.contains(" # {"));
    assert!(!plain.contains("_created"));
    assert_eq!(counted(samples(&plain)), counted(open));

    let accept = "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                  encoding=delimited\r\n";
    let (_, head, body) = exporter.get("/metrics", accept);
    assert!(head.contains("io.prometheus.client.MetricFamily"), "{head}");
    let mut rest = body.as_slice();
    let (mut histograms, mut exemplars, mut counters, mut summaries) = (0, 0, 0, 0);
    let text = samples(&plain);
    while !rest.is_empty() {
        let family = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        for metric in &family.metric {
            let labels: Vec<String> = metric
                .label
                .iter()
                .map(|l| format!("{}=\"{}\"", l.name, l.value))
                .collect();
            let key = |name: &str| match labels.len() {
                0 => name.to_owned(),
                _ => format!("{name}{{{}}}", labels.join(",")),
            };
            let mut since = |time: Option<(i64, i32)>| {
                let base = family.name.trim_end_matches("_total");
                let (seconds, nanos) = time.expect(&family.name);
                let at = seconds as f64 + f64::from(nanos) / 1e9;
                let open = created.remove(&key(&format!("{base}_created"))).unwrap();
                assert!((at - open).abs() < 0.002, "{}: {at} {open}", family.name);
            };
            if let Some(h) = &metric.histogram {
                since(h.start_timestamp.map(|t| (t.seconds, t.nanos)));
                histograms += 1;
                let count = h.sample_count as f64;
                assert_eq!(text[&key(&format!("{}_count", family.name))], count);
                assert_eq!(text[&key(&format!("{}_sum", family.name))], h.sample_sum);
                let last = h.bucket.last().unwrap();
                assert_eq!(last.cumulative_count as f64, count);
                exemplars += h.bucket.iter().filter(|b| b.exemplar.is_some()).count();
                if !h.positive_span.is_empty() {
                    let mut bucket = 0;
                    let buckets: i64 = h
                        .positive_delta
                        .iter()
                        .map(|d| {
                            bucket += d;
                            bucket
                        })
                        .sum();
                    assert_eq!(buckets as u64 + h.zero_count, h.sample_count);
                }
            } else if let Some(s) = &metric.summary {
                since(s.start_timestamp.map(|t| (t.seconds, t.nanos)));
                summaries += 1;
                if !family.name.starts_with("pinscope_read_") {
                    let count = s.sample_count as f64;
                    assert_eq!(text[&key(&format!("{}_count", family.name))], count);
                    assert_eq!(text[&key(&format!("{}_sum", family.name))], s.sample_sum);
                }
            } else if let Some(c) = &metric.counter {
                since(c.start_timestamp.map(|t| (t.seconds, t.nanos)));
                counters += 1;
                if family.name.starts_with("pinscope_") {
                    assert_eq!(text[&key(&family.name)], c.value, "{}", family.name);
                }
            }
        }
    }
    assert!(histograms > 3 && exemplars > 0 && counters > 30 && summaries > 2);
    assert!(created.is_empty(), "only OpenMetrics has {created:?}");
}

fn name_of(key: &str) -> &str {
    key.split('{').next().unwrap()
}

/// A series that was not on the page before begins at 0. That of a cgroup begins with what it
/// counted since that page, and its created timestamp says so.
#[test]
fn what_appears_later_counts_since_the_page_before() {
    let exporter = Exporter::start(&["--interval", "10ms", "--cgroups", "3"]);
    let page = || {
        sleep(Duration::from_millis(15));
        let (_, _, body) = exporter.get("/metrics", "Accept: application/openmetrics-text\r\n");
        samples(&String::from_utf8(body).unwrap())
    };
    let mut before = page();
    let created = |page: &BTreeMap<String, f64>, key: &str| {
        let (name, labels) = key.split_at(name_of(key).len());
        let name = name.trim_end_matches("_total").trim_end_matches("_count");
        page[&format!("{name}_created{labels}")]
    };
    let unmaps = |key: &str| key.starts_with("pinscope_unmaps_total");
    let attached = created(&before, before.keys().find(|k| unmaps(k)).unwrap());
    let (mut late, mut cgroups) = (0, 0);
    for _ in 0..60 {
        let now = page();
        for (key, value) in now.iter().filter(|(key, _)| !before.contains_key(*key)) {
            let name = name_of(key);
            if name.starts_with("pinscope_cgroup_") && name.ends_with("_total") {
                assert!(created(&now, key) >= attached);
                cgroups += 1;
            } else if name.ends_with("_total") || name.ends_with("_count") {
                assert_eq!(*value, 0.0, "{key}");
                assert!(created(&now, key) > attached, "{key}");
                late += 1;
            }
        }
        // What was there counts since the same moment as before.
        for (key, value) in before.iter().filter(|(key, _)| key.contains("_created")) {
            assert!(now.get(key).is_none_or(|now| now >= value), "{key}");
            let process = key.starts_with("process_");
            assert!(
                process || now.get(key).is_none_or(|now| now == value),
                "{key}"
            );
        }
        before = now;
    }
    assert!(late > 0, "the recording has no series that appears later");
    assert!(cgroups > 0 || before.keys().any(|k| k.starts_with("pinscope_cgroup_")));
    // Every cgroup's count is in one row, and the rows add up to the total.
    for (of, total) in [
        ("pinscope_cgroup_unmaps_total", "pinscope_unmaps_total"),
        (
            "pinscope_cgroup_unmapped_pages_total",
            "pinscope_unmapped_pages_total",
        ),
    ] {
        for verdict in ["futile_pinned", "freed", "writeback"] {
            let sum = |name: &str| -> f64 {
                let label = format!("verdict=\"{verdict}\"");
                let rows = before.iter();
                let rows = rows.filter(|(k, _)| name_of(k) == name && k.contains(&label));
                rows.map(|(_, n)| n).sum()
            };
            assert!(sum(total) > 0.0 && sum(of) == sum(total), "{of} {verdict}");
        }
    }
}

#[test]
fn counters_never_go_back_and_two_scrapers_see_the_same() {
    let exporter = Exporter::start(&["--interval", "20ms", "--cgroups", "2"]);
    let mut before = samples(&exporter.metrics());
    for _ in 0..20 {
        let now = samples(&exporter.metrics());
        for (key, value) in before.iter().filter(|(k, _)| k.contains("_total")) {
            assert!(now.get(key).is_none_or(|n| n >= value), "{key} went back");
        }
        before = now;
        sleep(Duration::from_millis(15));
    }
    let same = Exporter::start(&["--interval", "1h"]);
    let (a, b) = (same.get("/metrics", "").2, same.get("/metrics", "").2);
    assert_eq!(a, b);
}

#[test]
fn a_budget_bounds_the_series_and_counts_those_dropped() {
    let all = Exporter::start(&["--cgroups", "5", "--interval", "10ms"]).at_the_end();
    let text = all.metrics();
    assert!(text.contains("pinscope_series_dropped_total 0"), "{text}");
    let few = Exporter::start(&[
        "--cgroups",
        "5",
        "--max-series",
        "100",
        "--interval",
        "10ms",
    ]);
    let first = samples(&few.metrics());
    sleep(Duration::from_millis(50));
    let second = samples(&few.metrics());
    let count = samples(&text).len();
    assert!(
        count > 100 && second.len() <= 100,
        "{count} {}",
        second.len()
    );
    // The counter of dropped series stays, and grows from page to page.
    let key = "pinscope_series_dropped_total";
    assert!(first[key] == 0.0 && second[key] > 0.0, "{}", second[key]);
    // So does all that says what is missing, under the smallest budget that can be set.
    let needed = |page: &BTreeMap<String, f64>| -> Vec<String> {
        let names = [
            "pinscope_build_info",
            "pinscope_series_dropped_total",
            "pinscope_hook_active",
            "pinscope_hook_missed_total",
            "pinscope_events_lost_total",
        ];
        let keys = page.keys();
        let keys = keys.filter(|k| names.contains(&name_of(k)));
        keys.cloned().collect()
    };
    let all = samples(&text);
    assert_eq!(needed(&second), needed(&all));
    assert!(needed(&all).len() > 20);
    // A server also makes series of the created timestamps.
    let (_, _, open) = few.get("/metrics", "Accept: application/openmetrics-text\r\n");
    let open = samples(&String::from_utf8(open).unwrap());
    assert!(
        open.len() <= 100 && needed(&open) == needed(&all),
        "{}",
        open.len()
    );
}

/// A hook that this version does not attach has no series: an alert on it would always fire.
#[test]
fn only_hooks_of_this_version_have_series() {
    let exporter = Exporter::start(&[]);
    let metrics = exporter.metrics();
    let lines = metrics.lines();
    let hooks: Vec<&str> = lines
        .filter_map(|l| {
            l.strip_prefix("pinscope_hook_active{hook=\"")?
                .split('"')
                .next()
        })
        .collect();
    assert!(hooks.len() > 8, "{hooks:?}");
    for hook in hooks {
        assert!(probe_ebpf::Hook::named(hook).is_some(), "{hook}");
    }
    for planned in ["migration", "refault"] {
        assert!(!metrics.contains(planned), "{planned}");
    }
    let info = "pinscope_hook_info{hook=\"try_to_unmap\",symbol=\"try_to_unmap\",attach=\"fentry\",state=\"active\"} 1";
    assert!(metrics.contains(info), "{metrics}");
}

#[test]
fn pages_answer() {
    let exporter = Exporter::start(&[]);
    for (path, status, word) in [
        ("/healthz", 200, "ok"),
        ("/readyz", 200, "ready"),
        ("/", 200, "<h1>pinscope"),
        ("/nothing", 404, "/metrics"),
    ] {
        let (code, head, body) = exporter.get(path, "");
        assert_eq!(code, status, "{path}");
        assert!(String::from_utf8(body).unwrap().contains(word), "{path}");
        assert!(head.contains("cache-control: no-store"), "{head}");
    }
    let stream = TcpStream::connect(&exporter.address).unwrap();
    let post =
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(stream, post).0, 405);
    // A hook that is not active is shown with its reason.
    let (_, _, body) = exporter.get("/readyz", "");
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("page_ref_freeze is unsupported: "), "{body}");
}
