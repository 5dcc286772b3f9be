//! The metrics that a collector receives.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use axum::http::Version;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
use prost::Message;
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
};

use crate::{
    collector::{Collector, Reply},
    support::*,
};

/// An interval after which no second push comes within a test.
const ONCE: &str = "1h";

#[test]
fn otlp_pushes_what_metrics_show() {
    let collector = Collector::start(&[]);
    let url = collector.url();
    let exporter = Exporter::start(&["--otlp", &url, "--otlp-interval", "200ms"]);
    let mut last: Option<(i64, u64)> = None;
    for _ in 0..5 {
        let push = collector.next();
        assert_eq!(push.path, "/v1/metrics");
        assert_eq!(push.version, Version::HTTP_11);
        assert!(!push.compressed && push.header("user-agent").starts_with("pinscope/"));
        let (total, start, now) = push.total("pinscope_unmaps");
        assert!(start < now);
        // Cumulative: the start stays the same, and the total never decreases.
        if let Some((before, started)) = last {
            assert!(total >= before && start == started);
        }
        last = Some((total, start));
    }
    drop(collector);
    // A collector that is down does no harm.
    let now = samples(&exporter.metrics());
    let total: f64 = now
        .iter()
        .filter(|(k, _)| k.starts_with("pinscope_unmaps_total"))
        .map(|(_, n)| n)
        .sum();
    assert!(total >= last.unwrap().0 as f64);
}

#[test]
fn the_environment_of_opentelemetry_applies() {
    let collector = Collector::start(&[]);
    let base = format!("{}/otlp/", collector.url());
    let exporter = Exporter::start_in(
        &[],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &base),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20key,x-tenant=t"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
            ("OTEL_SERVICE_NAME", "reclaim"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test",
            ),
        ],
    );
    let push = collector.next();
    assert_eq!(push.path, "/otlp/v1/metrics");
    assert_eq!(push.header("api-key"), "a key");
    assert_eq!(push.header("x-tenant"), "t");
    assert!(push.compressed && push.length < push.request.encoded_len() / 2);
    let resource = push.resource();
    let uname = nix::sys::utsname::uname().unwrap();
    for (key, value) in [
        ("service.name", "reclaim"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", uname.nodename().to_str().unwrap()),
        ("os.type", "linux"),
        ("os.version", uname.release().to_str().unwrap()),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(resource.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(resource["service.instance.id"].len(), 36);
    assert_eq!(collector.next().resource(), resource);
    // A flag takes precedence.
    let other = Collector::start(&[]);
    let _second = Exporter::start_in(
        &["--otlp", &format!("{}/own", other.url())],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &base)],
    );
    assert_eq!(other.next().path, "/own");
    drop(exporter);
}

#[test]
fn grpc_carries_the_same() {
    for gzip in ["none", "gzip"] {
        let collector = Collector::start(&[]);
        let url = collector.url();
        let exporter = Exporter::start_in(
            &[
                "--otlp",
                &url,
                "--otlp-protocol",
                "grpc",
                "--otlp-interval",
                "200ms",
                "--interval",
                "10ms",
            ],
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", gzip),
            ],
        );
        let push = collector.next();
        let service = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        assert!(push.path.ends_with(service), "{}", push.path);
        assert_eq!(push.version, Version::HTTP_2);
        assert_eq!(push.header("authorization"), "Bearer x");
        assert_eq!(push.compressed, gzip == "gzip");
        let first = push.total("pinscope_unmaps");
        let second = collector.next().total("pinscope_unmaps");
        assert!(second.0 >= first.0 && second.1 == first.1 && second.2 > first.2);
        drop(exporter);
    }
}

/// The certificate is not that of a public authority: only the variable makes it trusted.
#[test]
fn tls_trusts_the_given_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes());
        let mut tls = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let collector = Collector::start_with(&[], Some(tls));
        let url = format!("https://localhost:{}", collector.address.port());
        let flags = [
            "--otlp",
            &url,
            "--otlp-protocol",
            protocol,
            "--otlp-interval",
            ONCE,
        ];
        let _exporter = Exporter::start_in(
            &flags,
            &[("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().unwrap())],
        );
        let push = collector.next();
        assert_eq!(push.version == Version::HTTP_2, protocol == "grpc");
    }
}

/// Replies after which the same request comes again, or does not.
#[test]
fn a_failed_push_is_retried_if_that_may_help() {
    for (reply, protocol, retried) in [
        (Reply::Status(503, None), "http/protobuf", true),
        (Reply::Status(429, Some("1")), "http/protobuf", true),
        (Reply::Status(400, None), "http/protobuf", false),
        (Reply::Reject(3), "http/protobuf", false),
        // UNAVAILABLE and INVALID_ARGUMENT.
        (Reply::Grpc(14), "grpc", true),
        (Reply::Grpc(3), "grpc", false),
    ] {
        let collector = Collector::start(&[reply]);
        let url = collector.url();
        let _exporter = Exporter::start(&[
            "--otlp",
            &url,
            "--otlp-protocol",
            protocol,
            "--otlp-interval",
            // A retry comes long before the next push; without one, the next push must come.
            if retried { "60s" } else { "2s" },
        ]);
        let (first, second) = (collector.next(), collector.next());
        assert_eq!(first.request == second.request, retried, "{protocol}");
    }
}

/// Ends an exporter by SIGTERM, and waits until it has ended.
fn end(mut exporter: Exporter) -> Option<i32> {
    kill(Pid::from_raw(exporter.child.id() as i32), Signal::SIGTERM).unwrap();
    let begun = Instant::now();
    loop {
        if let Some(status) = exporter.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(begun.elapsed() < LIMIT);
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_last_counts_arrive_at_the_end() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start(&[]);
        let url = collector.url();
        let flags = [
            "--otlp",
            &url,
            "--otlp-protocol",
            protocol,
            "--otlp-interval",
            ONCE,
        ];
        // A scrape is valid for an hour, but not for the last push.
        let exporter = Exporter::start(&[&flags[..], &["--interval", ONCE]].concat());
        let (_, _, first) = collector.next().total("pinscope_unmaps");
        assert_eq!(end(exporter), Some(0));
        let (_, _, last) = collector.next().total("pinscope_unmaps");
        assert!(last > first);
    }
}

#[test]
fn a_silent_collector_does_not_hold_up_the_end() {
    let collector = Collector::start(&[Reply::Silence, Reply::Silence, Reply::Silence]);
    let url = collector.url();
    let exporter = Exporter::start(&["--otlp", &url, "--otlp-interval", ONCE]);
    collector.next();
    assert_eq!(end(exporter), Some(0));
}

/// Forwards connections to an address. The first one goes silent, without being closed, once
/// `silent` is set: as a router does that has forgotten it.
fn relay(to: SocketAddr, silent: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = Arc::clone(silent);
    thread::spawn(move || {
        let mut first = true;
        for stream in listener.incoming() {
            let (here, there) = (stream.unwrap(), TcpStream::connect(to).unwrap());
            for (from, to) in [(&here, &there), (&there, &here)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let silent = Arc::clone(&silent);
                thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(n @ 1..) = from.read(&mut bytes) {
                        if !(first && silent.load(Ordering::SeqCst)) {
                            let _ = to.write_all(&bytes[..n]);
                        }
                    }
                });
            }
            first = false;
        }
    });
    address
}

#[test]
fn a_forgotten_connection_is_replaced() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start(&[]);
        let silent = Arc::new(AtomicBool::new(false));
        let url = format!("http://{}", relay(collector.address, &silent));
        let flags = ["--otlp", &url, "--otlp-protocol", protocol];
        let _exporter = Exporter::start_in(
            &[
                &flags[..],
                &["--otlp-interval", "100ms", "--interval", "10ms"],
            ]
            .concat(),
            &[("OTEL_EXPORTER_OTLP_TIMEOUT", "2000")],
        );
        collector.next();
        silent.store(true, Ordering::SeqCst);
        // Those that were under way.
        while collector.try_next(Duration::from_secs(1)).is_some() {}
        collector.next();
    }
}

/// Every family of the page is pushed, and histograms have the buckets of the native histograms
/// that Prometheus gets.
#[test]
fn exponential_histograms_have_the_counts_of_the_page() {
    let collector = Collector::start(&[]);
    let url = collector.url();
    let flags = [
        "--interval",
        "10ms",
        "--otlp",
        &url,
        "--otlp-interval",
        "200ms",
    ];
    let exporter = Exporter::start(&flags).at_the_end();
    let accept = "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                  encoding=delimited\r\n";
    let (_, _, body) = exporter.get("/metrics", accept);
    let mut families = Vec::new();
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    let counted = |push: &crate::collector::Push| push.total("pinscope_unmaps").0;
    let mut push = collector.next();
    let shown: f64 = families
        .iter()
        .filter(|f| f.name == "pinscope_unmaps_total" || f.name == "pinscope_unmaps")
        .flat_map(|f| &f.metric)
        .map(|m| m.counter.as_ref().unwrap().value)
        .sum();
    while (counted(&push) as f64) < shown {
        push = collector.next();
    }
    assert_eq!(push.metrics().len(), families.len());
    let mut checked = 0;
    for family in &families {
        let name = &family.name;
        let found = push.metrics().iter().find(|m| {
            let plain = m.unit.as_str() == "s" && name.ends_with("_seconds");
            *name == m.name || (plain && *name == format!("{}_seconds", m.name))
        });
        let Some(Data::ExponentialHistogram(pushed)) = found.and_then(|m| m.data.as_ref()) else {
            continue;
        };
        assert_eq!(pushed.data_points.len(), family.metric.len(), "{name}");
        for (point, metric) in pushed.data_points.iter().zip(&family.metric) {
            let native = metric.histogram.as_ref().unwrap();
            assert_eq!(point.count, native.sample_count, "{name}");
            assert_eq!(point.sum, Some(native.sample_sum), "{name}");
            assert_eq!(point.scale, native.schema, "{name}");
            assert_eq!(point.zero_count, native.zero_count, "{name}");
            // Prometheus numbers a bucket by its upper bound.
            let (mut index, mut count, mut deltas) = (0, 0, native.positive_delta.iter());
            let mut theirs = Vec::new();
            for span in &native.positive_span {
                index += span.offset;
                for _ in 0..span.length {
                    count += deltas.next().unwrap();
                    theirs.push((index - 1, count as u64));
                    index += 1;
                }
            }
            let positive = point.positive.as_ref().unwrap();
            let ours: Vec<(i32, u64)> = (positive.offset..)
                .zip(positive.bucket_counts.iter().copied())
                .filter(|(_, n)| *n > 0)
                .collect();
            theirs.retain(|(_, n)| *n > 0);
            assert_eq!(ours, theirs, "{name}");
            checked += ours.len();
        }
    }
    assert!(checked >= 10, "{checked} buckets");
}

#[test]
fn check_config_shows_the_push_but_no_secret() {
    let output = command(&["--check-config"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("http://h:4318/v1/metrics every 1m"), "{said}");
    assert!(said.contains("api-key") && !said.contains("hush"), "{said}");
    let output = command(&["--check-config", "--otlp", "h:4318"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--otlp") && said.contains("http://"),
        "{said}"
    );
}
