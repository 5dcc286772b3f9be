//! Families as length-delimited messages of Prometheus's own protobuf format, which has native
//! histograms.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::{
    Bucket, BucketSpan, Counter, Exemplar, Gauge, Histogram, LabelPair, Metric, MetricFamily,
    MetricType, Summary,
};
use prost::Message;

use super::{
    family::{Family, Kind},
    value::{Buckets, Example, Native, Pair, Series, Value},
};

/// Encodes the families.
pub(super) fn encode(families: &[Family]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for family in families {
        message(family)
            .encode_length_delimited(&mut out)
            .map_err(|e| e.to_string())?;
    }
    Ok(out)
}

fn message(family: &Family) -> MetricFamily {
    let defined = family.metric;
    let kind = match defined.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge | Kind::Info => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Summary => MetricType::Summary,
    };
    MetricFamily {
        name: defined.full_name(),
        help: format!("{}.", defined.help),
        r#type: kind.into(),
        metric: family
            .series
            .iter()
            .map(|series| metric(defined.kind, series))
            .collect(),
        unit: defined.unit.suffix().unwrap_or_default().to_owned(),
    }
}

fn metric(kind: Kind, series: &Series) -> Metric {
    let created = series.created.map(|at| time(at).into());
    let mut metric = Metric {
        label: labels(&series.labels),
        ..Metric::default()
    };
    let value = match &series.value {
        Value::Count(n) => *n as f64,
        Value::Number(n) => *n,
        Value::Summary { count, sum } => {
            metric.summary = Some(Summary {
                sample_count: *count,
                sample_sum: *sum,
                start_timestamp: created,
                ..Summary::default()
            });
            return metric;
        }
        Value::Histogram(h) => {
            metric.histogram = Some(Histogram {
                start_timestamp: created,
                ..histogram(h)
            });
            return metric;
        }
    };
    if kind == Kind::Counter {
        metric.counter = Some(Counter {
            value,
            start_timestamp: created,
            ..Counter::default()
        });
    } else {
        metric.gauge = Some(Gauge { value });
    }
    metric
}

fn histogram(h: &Buckets) -> Histogram {
    let mut so_far = 0u64;
    let bucket = h.classic.iter().enumerate().map(|(bucket, (le, n))| {
        so_far = so_far.saturating_add(*n);
        let example = h.exemplars.iter().find(|(b, _)| *b == bucket);
        Bucket {
            cumulative_count: so_far,
            upper_bound: *le,
            exemplar: example.map(|(_, example)| exemplar(example)),
            ..Bucket::default()
        }
    });
    let classic = Histogram {
        sample_count: h.count,
        sample_sum: h.sum,
        bucket: bucket.collect(),
        ..Histogram::default()
    };
    match &h.native {
        Some(native) => with_native(classic, native),
        None => classic,
    }
}

fn with_native(classic: Histogram, native: &Native) -> Histogram {
    let spans = native.spans.iter();
    Histogram {
        schema: native.schema,
        // The zero bucket holds only zero. Not 0.0, by which an empty native histogram would look
        // like a classic one.
        zero_threshold: f64::from_bits(1),
        zero_count: native.zeroes,
        positive_span: spans
            .map(|&(offset, length)| BucketSpan { offset, length })
            .collect(),
        positive_delta: native.deltas.clone(),
        ..classic
    }
}

fn exemplar(e: &Example) -> Exemplar {
    Exemplar {
        label: labels(&e.labels),
        value: e.value,
        timestamp: Some(time(e.at).into()),
    }
}

fn labels(pairs: &[Pair]) -> Vec<LabelPair> {
    let pair = |(name, value): &Pair| LabelPair {
        name: (*name).to_owned(),
        value: value.clone(),
    };
    pairs.iter().map(pair).collect()
}

fn time(at: f64) -> SystemTime {
    let since = Duration::try_from_secs_f64(at).unwrap_or_default();
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
