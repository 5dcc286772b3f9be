//! The format that a scraper wants, by its `Accept` header (RFC 9110, section 12.5.1).

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4, the default.
    Text,
    /// OpenMetrics text 1.0.0, with exemplars.
    OpenMetrics,
    /// Length-delimited `io.prometheus.client.MetricFamily`, with native histograms.
    Protobuf,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 3] = [Format::Text, Format::OpenMetrics, Format::Protobuf];

    /// Returns the `Content-Type` of an answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }

    /// Returns the format that an `Accept` header prefers, the first of several equal ones. Text
    /// if it names no known format.
    pub fn wanted(accept: &str) -> Format {
        let mut best: Option<(Format, f32)> = None;
        for range in accept.split(',') {
            let mut words = range.split(';').map(str::trim);
            let media = words.next().unwrap_or_default().to_ascii_lowercase();
            let mut quality = 1.0;
            let mut fits = true;
            let format = match media.as_str() {
                "application/vnd.google.protobuf" => Format::Protobuf,
                "application/openmetrics-text" => Format::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Format::Text,
                _ => continue,
            };
            for word in words {
                let (key, value) = word.split_once('=').unwrap_or((word, ""));
                let value = value.trim().trim_matches('"');
                match (key.trim().to_ascii_lowercase().as_str(), format) {
                    ("q", _) => quality = value.parse().unwrap_or(0.0),
                    ("proto", Format::Protobuf) => {
                        fits &= value == "io.prometheus.client.MetricFamily";
                    }
                    ("encoding", Format::Protobuf) => fits &= value == "delimited",
                    ("version", Format::OpenMetrics) => fits &= matches!(value, "1.0.0" | "0.0.1"),
                    _ => {}
                }
            }
            let better = best.is_none_or(|(_, q)| quality > q);
            if fits && quality > 0.0 && better {
                best = Some((format, quality));
            }
        }
        best.map_or(Format::Text, |(format, _)| format)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_of_scrapers_choose_a_format() {
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                        encoding=delimited;q=0.7,application/openmetrics-text;version=1.0.0;\
                        q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::wanted(protobuf), Format::Protobuf);
        let text = "application/openmetrics-text;version=1.0.0,\
                    application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;\
                    q=0.5,*/*;q=0.1";
        assert_eq!(Format::wanted(text), Format::OpenMetrics);
        assert_eq!(Format::wanted("*/*"), Format::Text);
        assert_eq!(Format::wanted(""), Format::Text);
        assert_eq!(Format::wanted("text/html"), Format::Text);
        let other = "application/vnd.google.protobuf;proto=other;encoding=delimited";
        assert_eq!(Format::wanted(other), Format::Text);
        let never = "application/openmetrics-text;q=0, text/plain;q=0.1";
        assert_eq!(Format::wanted(never), Format::Text);
    }

    proptest! {
        #[test]
        fn anything_has_an_answer(accept in "\\PC{0,200}") {
            Format::wanted(&accept);
        }
    }
}
