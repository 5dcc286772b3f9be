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
    let counted = |samples: BTreeMap<String, f64>| -> BTreeMap<String, f64> {
        let own = |k: &String| k.starts_with("pinscope_");
        samples.into_iter().filter(|(k, _)| own(k)).collect()
    };
    let plain = exporter.metrics();
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT") && !plain.contains(" # {"));
    assert_eq!(counted(samples(&plain)), counted(samples(&open)));

    let accept = "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                  encoding=delimited\r\n";
    let (_, head, body) = exporter.get("/metrics", accept);
    assert!(head.contains("io.prometheus.client.MetricFamily"), "{head}");
    let mut rest = body.as_slice();
    let (mut histograms, mut exemplars, mut counters) = (0, 0, 0);
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
            if let Some(h) = &metric.histogram {
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
            } else if let Some(c) = &metric.counter
                && family.name.starts_with("pinscope_")
            {
                counters += 1;
                assert_eq!(text[&key(&family.name)], c.value, "{}", family.name);
            }
        }
    }
    assert!(histograms > 3 && exemplars > 0 && counters > 30);
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
