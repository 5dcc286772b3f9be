//! What a scraper may ask for: compression, and a choice of metrics.

use std::io::Read;

use crate::support::*;

const FORMATS: [&str; 3] = [
    "text/plain",
    "application/openmetrics-text;version=1.0.0",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
];

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

/// An exporter whose scrapes are all the same.
fn exporter() -> Exporter {
    Exporter::start(&["--interval", "1h", "--cgroups", "5"])
}

#[test]
fn a_compressed_page_has_the_same_bytes() {
    let exporter = exporter();
    for format in FORMATS {
        let get =
            |headers: &str| exporter.get("/metrics", &format!("Accept: {format}\r\n{headers}"));
        let (status, head, plain) = get("");
        assert_eq!(status, 200);
        assert!(!head.contains("content-encoding"), "{head}");
        assert!(head.contains("vary: Accept, Accept-Encoding"), "{head}");
        for _ in 0..2 {
            let (status, head, body) = get("Accept-Encoding: deflate;q=0.1, gzip\r\n");
            assert_eq!(status, 200);
            assert!(head.contains("content-encoding: gzip"), "{head}");
            assert!(head.contains("vary: Accept, Accept-Encoding"), "{head}");
            assert!(body.len() * 2 < plain.len(), "{}", body.len());
            assert!(unzipped(&body) == plain, "{format}");
        }
        let (_, head, body) = get("Accept-Encoding: gzip;q=0, identity\r\n");
        assert!(!head.contains("content-encoding"), "{head}");
        assert!(body == plain);
    }
}

/// Prometheus's own client asks for gzip, and its parser is exercised in server.rs.
#[test]
fn a_scraper_chooses_metrics_by_name() {
    let exporter = exporter();
    let names = |query: &str| -> Vec<String> {
        let (status, _, body) = exporter.get(&format!("/metrics{query}"), "");
        assert_eq!(status, 200);
        let text = String::from_utf8(body).unwrap();
        let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
        types
            .map(|l| l.split(' ').next().unwrap().to_owned())
            .collect()
    };
    assert!(names("").len() > 10);
    assert_eq!(
        names("?name[]=pinscope_unmaps_total"),
        ["pinscope_unmaps_total"]
    );
    assert_eq!(
        names("?name%5B%5D=pinscope_unmap_seconds_bucket&name[]=pinscope_build_info"),
        ["pinscope_build_info", "pinscope_unmap_seconds"]
    );
    assert!(names("?name[]=pinscope").is_empty());
    for format in FORMATS {
        let headers = format!("Accept: {format}\r\n");
        let path = "/metrics?name[]=pinscope_unmaps_total&name[]=up";
        let (status, _, plain) = exporter.get(path, &headers);
        assert_eq!(status, 200);
        let has = |name: &str| plain.windows(name.len()).any(|w| w == name.as_bytes());
        assert!(has("pinscope_unmaps") && !has("pinscope_hook"));
        let (_, head, body) = exporter.get(path, &format!("{headers}Accept-Encoding: gzip\r\n"));
        assert!(head.contains("content-encoding: gzip"), "{head}");
        assert!(unzipped(&body) == plain, "{format}");
    }
    // An unknown name is not an error, and the page is complete.
    let headers = format!("Accept: {}\r\n", FORMATS[1]);
    let (status, _, body) = exporter.get("/metrics?name[]=nosuch", &headers);
    assert_eq!((status, body.as_slice()), (200, &b"# EOF\n"[..]));
}
