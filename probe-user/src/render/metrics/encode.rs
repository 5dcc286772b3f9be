//! Encodes families: as text here, as protobuf in [`protobuf`].

use std::fmt::Write;

use super::{
    family::{Family, Kind},
    format::Format,
    protobuf,
    value::{Buckets, Example, Pair, Series, Value},
};

/// Encodes the families in a format.
///
/// # Errors
/// If protobuf messages cannot be encoded, which would be a defect.
pub fn encode(families: &[Family], format: Format) -> Result<Vec<u8>, String> {
    match format {
        Format::Text => Ok(text(families, Dialect::Prometheus).into_bytes()),
        Format::OpenMetrics => Ok((text(families, Dialect::Open) + "# EOF\n").into_bytes()),
        Format::Protobuf => protobuf::encode(families),
    }
}

/// The two text formats. They differ in the names of families, and only OpenMetrics has units,
/// exemplars and created timestamps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    Open,
}

/// Writes a line; writing to a String cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {
        _ = writeln!($out, $($arg)*)
    };
}

fn text(families: &[Family], dialect: Dialect) -> String {
    let mut out = String::new();
    for family in families {
        let metric = family.metric;
        let name = metric.full_name();
        let (base, kind) = match (dialect, metric.kind) {
            (Dialect::Open, Kind::Info) => (metric.base_name(), "info"),
            (Dialect::Prometheus, Kind::Info) => (name.clone(), "gauge"),
            (Dialect::Open, kind) => (metric.base_name(), kind.word()),
            (Dialect::Prometheus, kind) => (name.clone(), kind.word()),
        };
        line!(out, "# HELP {base} {}.", escaped(metric.help));
        line!(out, "# TYPE {base} {kind}");
        if dialect == Dialect::Open
            && let Some(unit) = metric.unit.suffix()
        {
            line!(out, "# UNIT {base} {unit}");
        }
        for series in &family.series {
            samples(&mut out, &name, series, dialect);
            if dialect == Dialect::Open
                && let Some(created) = series.created
            {
                let labels = labels(None, &series.labels);
                line!(out, "{}_created{labels} {created:.3}", metric.base_name());
            }
        }
    }
    out
}

fn samples(out: &mut String, name: &str, series: &Series, dialect: Dialect) {
    let own = labels(None, &series.labels);
    match &series.value {
        Value::Count(n) => line!(out, "{name}{own} {n}"),
        Value::Number(n) => line!(out, "{name}{own} {}", number(*n)),
        Value::Summary { count, sum } => {
            line!(out, "{name}_sum{own} {}", number(*sum));
            line!(out, "{name}_count{own} {count}");
        }
        Value::Histogram(h) => {
            line!(out, "{name}_sum{own} {}", number(h.sum));
            line!(out, "{name}_count{own} {}", h.count);
            buckets(out, name, series, h, dialect);
        }
    }
}

fn buckets(out: &mut String, name: &str, series: &Series, h: &Buckets, dialect: Dialect) {
    let mut so_far = 0u64;
    for (bucket, (le, n)) in h.classic.iter().enumerate() {
        so_far = so_far.saturating_add(*n);
        let labels = labels(Some(*le), &series.labels);
        _ = write!(out, "{name}_bucket{labels} {so_far}");
        if dialect == Dialect::Open
            && let Some((_, example)) = h.exemplars.iter().find(|(b, _)| *b == bucket)
        {
            out.push_str(&exemplar(example));
        }
        out.push('\n');
    }
}

fn exemplar(e: &Example) -> String {
    // OpenMetrics wants the braces even without labels.
    let labels = match labels(None, &e.labels) {
        none if none.is_empty() => "{}".to_owned(),
        some => some,
    };
    format!(" # {labels} {} {:.3}", number(e.value), e.at)
}

/// Returns the labels in braces, or nothing if there are none.
fn labels(le: Option<f64>, labels: &[Pair]) -> String {
    let le = le.map(|le| format!("le=\"{}\"", number(le)));
    let pairs = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    let all: Vec<String> = le.into_iter().chain(pairs).collect();
    if all.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", all.join(","))
    }
}

/// Returns a number in decimal. OpenMetrics wants a point in the bounds of buckets.
fn number(n: f64) -> String {
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = n.to_string();
    if text.contains(['.', 'N']) {
        text
    } else {
        text + ".0"
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::metrics::family::{Label, Metric, Unit};

    static COUNTER: Metric = Metric {
        help: "Things",
        labels: &[Label {
            name: "x",
            meaning: "",
        }],
        ..Metric::bare("a", Unit::Seconds, Kind::Counter)
    };
    static SUMMARY: Metric = Metric {
        help: "Times",
        ..Metric::bare("t", Unit::Seconds, Kind::Summary)
    };

    fn both(families: &[Family]) -> [String; 2] {
        [Format::Text, Format::OpenMetrics]
            .map(|f| String::from_utf8(encode(families, f).unwrap()).unwrap())
    }

    #[test]
    fn numbers_are_decimal() {
        for (n, text) in [
            (0.0, "0.0"),
            (1023.0, "1023.0"),
            (0.000_001_023, "0.000001023"),
            (f64::INFINITY, "+Inf"),
            (1_700_000_000.5, "1700000000.5"),
        ] {
            assert_eq!(number(n), text);
        }
    }

    #[test]
    fn created_timestamps_are_for_openmetrics() {
        let mut counter = Family::new(&COUNTER);
        counter.push(["a\"b".to_owned()], Value::Count(3));
        counter.series[0].created = Some(12.5);
        let mut times = Family::new(&SUMMARY);
        times.push([], Value::Summary { count: 2, sum: 0.5 });
        times.series[0].created = Some(13.0);
        let [plain, open] = both(&[counter, times]);
        assert_eq!(
            plain,
            "# HELP a_seconds_total Things.\n# TYPE a_seconds_total counter\n\
             a_seconds_total{x=\"a\\\"b\"} 3\n\
             # HELP t_seconds Times.\n# TYPE t_seconds summary\n\
             t_seconds_sum 0.5\nt_seconds_count 2\n"
        );
        assert_eq!(
            open,
            "# HELP a_seconds Things.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
             a_seconds_total{x=\"a\\\"b\"} 3\na_seconds_created{x=\"a\\\"b\"} 12.500\n\
             # HELP t_seconds Times.\n# TYPE t_seconds summary\n# UNIT t_seconds seconds\n\
             t_seconds_sum 0.5\nt_seconds_count 2\nt_seconds_created 13.000\n# EOF\n"
        );
    }
}
