//! The metrics that a collector receives, decoded with the published protobuf definitions.

use std::{
    io::{BufRead, BufReader, Read, Write},
    thread::sleep,
    time::Duration,
};

use prost::Message;

use crate::support::*;

#[test]
fn otlp_pushes_what_metrics_show() {
    use opentelemetry_proto::tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        metrics::v1::{metric::Data, number_data_point::Value},
    };
    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/metrics", collector.local_addr().unwrap());
    let exporter = Exporter::start(&["--otlp", &url, "--otlp-interval", "200ms"]);
    let mut last: Option<(f64, u64)> = None;
    for _ in 0..5 {
        let (stream, _) = collector.accept().unwrap();
        let mut stream = BufReader::new(stream);
        let (mut length, mut kind) = (0, String::new());
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.to_ascii_lowercase();
            if let Some(n) = line.strip_prefix("content-length: ") {
                length = n.trim().parse().unwrap();
            }
            if let Some(k) = line.strip_prefix("content-type: ") {
                kind = k.trim().to_owned();
            }
            if line == "\r\n" {
                break;
            }
        }
        assert_eq!(kind, "application/x-protobuf");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        let request = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
        let resource = &request.resource_metrics[0];
        let names: Vec<&str> = resource
            .resource
            .iter()
            .flat_map(|r| &r.attributes)
            .map(|a| a.key.as_str())
            .collect();
        assert_eq!(names, ["service.name", "service.version", "host.name"]);
        let metrics = &resource.scope_metrics[0].metrics;
        let unmaps = metrics
            .iter()
            .find(|m| m.name == "pinscope_unmaps")
            .unwrap();
        let Some(Data::Sum(sum)) = &unmaps.data else {
            panic!("{unmaps:?}");
        };
        let total: i64 = sum
            .data_points
            .iter()
            .map(|p| match p.value {
                Some(Value::AsInt(n)) => n,
                _ => panic!("{p:?}"),
            })
            .sum();
        let point = &sum.data_points[0];
        assert!(sum.is_monotonic && point.start_time_unix_nano < point.time_unix_nano);
        // Cumulative: the start stays the same, and the total never decreases.
        if let Some((before, start)) = last {
            assert!(total as f64 >= before && point.start_time_unix_nano == start);
        }
        last = Some((total as f64, point.start_time_unix_nano));
    }
    drop(collector);
    // A collector that is down does no harm.
    sleep(Duration::from_millis(500));
    let now = samples(&exporter.metrics());
    let total: f64 = now
        .iter()
        .filter(|(k, _)| k.starts_with("pinscope_unmaps_total"))
        .map(|(_, n)| n)
        .sum();
    assert!(total >= last.unwrap().0);
}
