//! What a scraper asks for beside the format: compression, and a choice of metrics.

use std::io::Write;

use axum::{
    body::Bytes,
    http::{HeaderMap, header::ACCEPT_ENCODING},
};
use flate2::{Compression, write::GzEncoder};

use crate::render::metrics::{
    Family,
    family::{Kind, Metric},
};

/// The level of compression: higher ones take twice the time for a few percent.
const LEVEL: u32 = 4;

/// Compresses a page.
pub(super) fn gzip(page: &[u8]) -> Result<Bytes, String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    let written = encoder.write_all(page);
    written
        .and_then(|()| encoder.finish())
        .map(Bytes::from)
        .map_err(|e| format!("cannot compress the page: {e}"))
}

/// Returns whether the client prefers gzip (RFC 9110, section 12.5.3).
pub(super) fn wants_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    for coding in values
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
    {
        let mut words = coding.split(';').map(str::trim);
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let quality = words
            .filter_map(|word| word.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case("q"))
            .map_or(1.0, |(_, q)| q.trim().parse::<f32>().unwrap_or(0.0));
        match name.as_str() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "identity" => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

/// Returns the names in `name[]=…` of a query, as exporters have it.
pub(super) fn names(query: &str) -> Vec<String> {
    form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == "name[]")
        .map(|(_, name)| name.into_owned())
        .collect()
}

/// Returns the families with these names, which may be those of their series too.
pub(super) fn only(families: &[Family], names: &[String]) -> Vec<Family> {
    let named = |family: &&Family| names.iter().any(|name| is_called(family.metric, name));
    families.iter().filter(named).cloned().collect()
}

fn is_called(metric: &Metric, name: &str) -> bool {
    let full = metric.full_name();
    let (base, suffixes): (_, &[_]) = match metric.kind {
        Kind::Counter => (full.trim_end_matches("_total"), &["", "_total", "_created"]),
        Kind::Info => (full.trim_end_matches("_info"), &["", "_info"]),
        Kind::Gauge => (full.as_str(), &[""]),
        Kind::Histogram => (
            full.as_str(),
            &["", "_bucket", "_count", "_sum", "_created"],
        ),
        Kind::Summary => (full.as_str(), &["", "_count", "_sum", "_created"]),
    };
    let suffix = name.strip_prefix(base);
    suffix.is_some_and(|suffix| suffixes.contains(&suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::metrics::registry::METRICS;

    #[test]
    fn clients_choose_the_encoding() {
        let wanted = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT_ENCODING, value.parse().unwrap());
            }
            wants_gzip(&headers)
        };
        for yes in [
            &["gzip"][..],
            &["GZIP;q=0.5"],
            &["deflate, gzip"],
            &["deflate", "br, gzip;q=0.1"],
            &["*"],
            &["gzip;q=0.5, identity;q=0.5"],
            &["identity;q=0, *;q=0.1"],
        ] {
            assert!(wanted(yes), "{yes:?}");
        }
        for no in [
            &[][..],
            &[""],
            &["identity"],
            &["gzip;q=0"],
            &["gzip; q=0.0, *"],
            &["gzip;q=0.1, identity;q=0.2"],
            &["*;q=0"],
            &["gzip;q=x"],
            &["deflate, br"],
        ] {
            assert!(!wanted(no), "{no:?}");
        }
    }

    #[test]
    fn a_query_has_names() {
        let found = names("name[]=a&x=y&name%5B%5D=b%5fc&name=d");
        assert_eq!(found, ["a", "b_c"]);
        assert!(names("").is_empty());
    }

    #[test]
    fn every_metric_has_its_name_and_those_of_its_series() {
        for metric in METRICS {
            let full = metric.full_name();
            for other in METRICS {
                let same = std::ptr::eq(*metric, *other);
                assert_eq!(is_called(other, &full), same, "{full} and {}", other.name);
            }
            if metric.kind == Kind::Histogram {
                assert!(is_called(metric, &format!("{full}_bucket")));
            }
            assert!(!is_called(metric, &format!("{full}x")));
        }
    }
}
