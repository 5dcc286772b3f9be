//! Encodes families with prometheus-client.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, MetricEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet,
        prometheus_protobuf::{
            self,
            prometheus_data_model::{Exemplar, LabelPair},
        },
        text,
    },
    metrics::MetricType,
    registry::{self, Registry},
};
use prost::Message;

use super::{
    family::{Family, Kind},
    format::Format,
    value::{Buckets, Example, Value},
};

/// Encodes the families in a format.
///
/// # Errors
/// If prometheus-client cannot encode them, which would be a defect.
pub fn encode(families: &Arc<Vec<Family>>, format: Format) -> Result<Vec<u8>, String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(Arc::clone(families))));
    if format == Format::Protobuf {
        return protobuf(&registry, families);
    }
    let mut out = String::new();
    text::encode_registry(&mut out, &registry).map_err(|e| e.to_string())?;
    if format == Format::Text {
        return Ok(plain(&out, families).into_bytes());
    }
    out = with_exemplars(&out, families);
    text::encode_eof(&mut out).map_err(|e| e.to_string())?;
    Ok(out.into_bytes())
}

/// Returns the example of each bucket, in the order in which buckets are encoded.
fn examples(families: &[Family]) -> impl Iterator<Item = Option<&Example>> {
    families
        .iter()
        .flat_map(|f| &f.series)
        .filter_map(|s| match &s.value {
            Value::Histogram(h) => Some(h),
            _ => None,
        })
        .flat_map(|h| {
            (0..h.classic.len()).map(|bucket| {
                let found = h.exemplars.iter().find(|(b, _)| *b == bucket);
                found.map(|(_, example)| example)
            })
        })
}

/// Encodes as protobuf. The exemplars are added to the messages, because prometheus-client only
/// makes exemplars of values that it observed itself.
fn protobuf(registry: &Registry, families: &[Family]) -> Result<Vec<u8>, String> {
    let mut messages = prometheus_protobuf::encode(registry).map_err(|e| e.to_string())?;
    let histograms = messages
        .iter_mut()
        .flat_map(|m| &mut m.metric)
        .filter_map(|m| m.histogram.as_mut());
    for (bucket, example) in histograms
        .flat_map(|h| &mut h.bucket)
        .zip(examples(families))
    {
        bucket.exemplar = example.map(|e| Exemplar {
            label: e
                .labels
                .iter()
                .map(|(name, value)| LabelPair {
                    name: (*name).to_owned(),
                    value: value.clone(),
                })
                .collect(),
            value: e.value,
            timestamp: Some(time(e.at).into()),
        });
    }
    let mut out = Vec::new();
    for message in &messages {
        message
            .encode_length_delimited(&mut out)
            .map_err(|e| e.to_string())?;
    }
    Ok(out)
}

fn time(at: f64) -> SystemTime {
    let since = Duration::try_from_secs_f64(at).unwrap_or_default();
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// Appends the exemplars to the buckets' lines of OpenMetrics text.
fn with_exemplars(open: &str, families: &[Family]) -> String {
    let mut out = String::with_capacity(open.len() + open.len() / 8);
    let mut examples = examples(families);
    for line in open.lines() {
        out.push_str(line);
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        if name.ends_with("_bucket")
            && let Some(e) = examples.next().flatten()
        {
            let labels: Vec<String> = e
                .labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            out.push_str(&format!(
                " # {{{}}} {} {:.3}",
                labels.join(","),
                e.value,
                e.at
            ));
        }
        out.push('\n');
    }
    out
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Converts OpenMetrics text to Prometheus text 0.0.4, which prometheus-client does not write: a
/// family has the name of its samples, info is a gauge, and there are no units and no exemplars.
fn plain(open: &str, families: &[Family]) -> String {
    let mut out = String::with_capacity(open.len());
    let mut families = families.iter().map(|f| f.metric.full_name());
    let mut name = String::new();
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), _, help) => {
                name = families.next().unwrap_or_default();
                out.push_str(&format!("# HELP {name} {}\n", help.unwrap_or_default()));
            }
            (Some("#"), Some("TYPE"), _, kind) => {
                let kind = kind.unwrap_or_default();
                let kind = if kind == "info" { "gauge" } else { kind };
                out.push_str(&format!("# TYPE {name} {kind}\n"));
            }
            (Some("#"), _, _, _) => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[derive(Debug)]
struct All(Arc<Vec<Family>>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        for family in self.0.iter() {
            let metric = family.metric;
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let unit = metric.unit.suffix();
            let unit = unit.map(|u| registry::Unit::Other(u.to_owned()));
            let help = format!("{}.", metric.help);
            let mut metrics = encoder.encode_descriptor(metric.name, &help, unit.as_ref(), kind)?;
            for series in &family.series {
                if metric.kind == Kind::Info {
                    metrics.encode_info(&series.labels)?;
                } else if series.labels.is_empty() {
                    value(&mut metrics, metric.kind, &series.value)?;
                } else {
                    let mut one = metrics.encode_family(&series.labels)?;
                    value(&mut one, metric.kind, &series.value)?;
                }
            }
        }
        Ok(())
    }
}

fn value(to: &mut MetricEncoder, kind: Kind, value: &Value) -> Result<(), std::fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Count(n)) => to.encode_counter::<NoLabelSet, _, u64>(n, None),
        (Kind::Counter, Value::Number(n)) => to.encode_counter::<NoLabelSet, _, u64>(n, None),
        (_, Value::Count(n)) => to.encode_gauge(n),
        (_, Value::Number(n)) => to.encode_gauge(n),
        (_, Value::Histogram(h)) => histogram(to, h),
    }
}

fn histogram(to: &mut MetricEncoder, h: &Buckets) -> Result<(), std::fmt::Error> {
    match &h.native {
        Some(native) => to.encode_histogram_with_native::<NoLabelSet>(
            h.sum,
            h.count,
            &h.classic,
            None,
            NativeHistogram {
                schema: native.schema,
                // The zero bucket holds only zero.
                zero_threshold: f64::from_bits(1),
                zero_count: native.zeroes,
                negative: NativeHistogramBuckets {
                    spans: &[],
                    deltas: &[],
                },
                positive: NativeHistogramBuckets {
                    spans: &native.spans,
                    deltas: &native.deltas,
                },
                created: None,
            },
        ),
        None => to.encode_histogram::<NoLabelSet>(h.sum, h.count, &h.classic, None),
    }
}
