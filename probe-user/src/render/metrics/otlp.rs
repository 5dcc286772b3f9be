//! Families as an OTLP metrics request (opentelemetry-proto, `metrics.proto`). Names lack the
//! suffixes that a Prometheus server adds by unit and kind.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint,
        Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, exponential_histogram_data_point,
        metric, number_data_point,
    },
    resource::v1::Resource,
};

use super::{
    family::{Family, Kind, Unit},
    value::{Buckets, Example, Native, Pair, Series, Value},
};

/// The form of histograms in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// Buckets of scale 3, eight per power of two; explicit bounds where the distribution is
    /// unknown.
    #[default]
    Exponential,
    /// The classic bounds of the Prometheus page.
    Explicit,
}

/// What a request has beside the families.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The attributes of the resource: what was measured, and by which instance.
    pub resource: &'a [(String, String)],
    /// The form of histograms.
    pub histograms: Histograms,
    /// The time at which counting began.
    pub start: SystemTime,
    /// The time at which the counters were read.
    pub now: SystemTime,
}

/// Returns a request with all families.
pub fn request(families: &[Family], about: &About<'_>) -> ExportMetricsServiceRequest {
    let resource = about.resource.iter();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: resource.map(|(k, v)| attribute(k, v)).collect(),
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "pinscope".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: families.iter().map(|f| metric(f, about)).collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn attributes(labels: &[Pair]) -> Vec<KeyValue> {
    labels.iter().map(|(k, v)| attribute(k, v)).collect()
}

fn metric(family: &Family, about: &About<'_>) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let times = (nanos(about.start), nanos(about.now));
    let defined = family.metric;
    let data = match defined.kind {
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: numbers(&family.series, times),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge | Kind::Info => metric::Data::Gauge(Gauge {
            data_points: numbers(&family.series, times),
        }),
        Kind::Summary => metric::Data::Summary(Summary {
            data_points: summaries(&family.series, times),
        }),
        Kind::Histogram => match (about.histograms, natives(&family.series)) {
            (Histograms::Exponential, Some(natives)) => {
                metric::Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: natives
                        .into_iter()
                        .map(|(s, h, native)| exponential(s, h, native, times))
                        .collect(),
                    aggregation_temporality: cumulative,
                })
            }
            _ => metric::Data::Histogram(Histogram {
                data_points: explicit(&family.series, times),
                aggregation_temporality: cumulative,
            }),
        },
    };
    let suffix = if defined.kind == Kind::Info {
        "_info"
    } else {
        ""
    };
    Metric {
        name: format!("{}{suffix}", defined.name),
        description: defined.help.to_owned(),
        unit: unit(defined.kind, defined.unit),
        data: Some(data),
        ..Metric::default()
    }
}

/// Returns the unit in UCUM. A count has an annotation, not `1`: a Prometheus server would add
/// `_ratio` to the name of a gauge with that.
fn unit(kind: Kind, unit: Unit) -> String {
    match (kind, unit) {
        (Kind::Info, _) => String::new(),
        (_, Unit::Seconds) => "s".to_owned(),
        (_, Unit::Bytes) => "By".to_owned(),
        (_, Unit::Of(things)) => format!("{{{things}}}"),
    }
}

fn numbers(series: &[Series], (start, now): (u64, u64)) -> Vec<NumberDataPoint> {
    let value = |value: &Value| match value {
        Value::Count(n) => Some(number_data_point::Value::AsInt(
            i64::try_from(*n).unwrap_or(i64::MAX),
        )),
        Value::Number(n) => Some(number_data_point::Value::AsDouble(*n)),
        Value::Summary { .. } | Value::Histogram(_) => None,
    };
    series
        .iter()
        .map(|s| NumberDataPoint {
            attributes: attributes(&s.labels),
            start_time_unix_nano: began(s, start),
            time_unix_nano: now,
            value: value(&s.value),
            ..NumberDataPoint::default()
        })
        .collect()
}

fn summaries(series: &[Series], (start, now): (u64, u64)) -> Vec<SummaryDataPoint> {
    let known = series.iter().filter_map(|s| match s.value {
        Value::Summary { count, sum } => Some((s, count, sum)),
        _ => None,
    });
    known
        .map(|(s, count, sum)| SummaryDataPoint {
            attributes: attributes(&s.labels),
            start_time_unix_nano: began(s, start),
            time_unix_nano: now,
            count,
            sum,
            ..SummaryDataPoint::default()
        })
        .collect()
}

fn histograms(series: &[Series]) -> impl Iterator<Item = (&Series, &Buckets)> {
    series.iter().filter_map(|s| match &s.value {
        Value::Histogram(h) => Some((s, &**h)),
        _ => None,
    })
}

/// Returns the native histograms of a family, or `None` if one has no known distribution: all
/// points of a metric are of one kind.
fn natives(series: &[Series]) -> Option<Vec<(&Series, &Buckets, &Native)>> {
    histograms(series)
        .map(|(s, h)| Some((s, h, h.native.as_ref()?)))
        .collect()
}

fn explicit(series: &[Series], (start, now): (u64, u64)) -> Vec<HistogramDataPoint> {
    histograms(series)
        .map(|(s, h)| HistogramDataPoint {
            attributes: attributes(&s.labels),
            start_time_unix_nano: began(s, start),
            time_unix_nano: now,
            count: h.count,
            sum: Some(h.sum),
            bucket_counts: h.classic.iter().map(|(_, n)| *n).collect(),
            // The last bucket has no bound.
            explicit_bounds: h
                .classic
                .iter()
                .map(|(le, _)| *le)
                .filter(|le| le.is_finite())
                .collect(),
            exemplars: exemplars(h),
            ..HistogramDataPoint::default()
        })
        .collect()
}

/// Returns when a series began to count, in ns since 1970.
fn began(series: &Series, start: u64) -> u64 {
    series.created.map_or(start, |at| (at * 1e9) as u64)
}

fn exponential(
    series: &Series,
    h: &Buckets,
    native: &Native,
    (start, now): (u64, u64),
) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: attributes(&series.labels),
        start_time_unix_nano: began(series, start),
        time_unix_nano: now,
        count: h.count,
        sum: Some(h.sum),
        scale: native.schema,
        zero_count: native.zeroes,
        positive: Some(dense(native)),
        exemplars: exemplars(h),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// Converts a native histogram's runs of differences to OTLP's array of counts. The bucket that
/// Prometheus numbers i, up to base^i, has the number i − 1 in OTLP: from base^(i − 1).
fn dense(native: &Native) -> exponential_histogram_data_point::Buckets {
    let mut counts = Vec::new();
    let mut deltas = native.deltas.iter();
    let mut count = 0i64;
    for (run, (gap, length)) in native.spans.iter().enumerate() {
        if run > 0 {
            counts.resize(counts.len() + usize::try_from(*gap).unwrap_or(0), 0);
        }
        for delta in deltas.by_ref().take(*length as usize) {
            count += delta;
            counts.push(u64::try_from(count).unwrap_or(0));
        }
    }
    let first = native.spans.first().map_or(0, |(first, _)| first - 1);
    exponential_histogram_data_point::Buckets {
        offset: first,
        bucket_counts: counts,
    }
}

fn exemplars(h: &Buckets) -> Vec<Exemplar> {
    let exemplar = |e: &Example| Exemplar {
        filtered_attributes: attributes(&e.labels),
        time_unix_nano: Duration::try_from_secs_f64(e.at)
            .map_or(0, |at| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)),
        value: Some(exemplar::Value::AsDouble(e.value)),
        ..Exemplar::default()
    };
    h.exemplars.iter().map(|(_, e)| exemplar(e)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::capture::histogram::of,
        render::metrics::{
            buckets::{Of, exported},
            family::{Label, Metric as Defined},
        },
    };

    static COUNTER: Defined = Defined {
        labels: &[Label {
            name: "x",
            meaning: "",
        }],
        ..Defined::bare("a", Unit::Of("things"), Kind::Counter)
    };
    static TIMES: Defined = Defined::bare("t", Unit::Seconds, Kind::Histogram);
    static BUILD: Defined = Defined::bare("build", Unit::Of("always 1"), Kind::Info);

    fn metrics(families: &[Family], histograms: Histograms) -> Vec<Metric> {
        let about = About {
            resource: &[("service.name".to_owned(), "pinscope".to_owned())],
            histograms,
            start: UNIX_EPOCH,
            now: UNIX_EPOCH + Duration::from_secs(1),
        };
        let mut request = request(families, &about);
        request
            .resource_metrics
            .remove(0)
            .scope_metrics
            .remove(0)
            .metrics
    }

    fn family(values: &[Buckets]) -> Family {
        let mut family = Family::new(&TIMES);
        for h in values {
            family.push([], Value::Histogram(Box::new(h.clone())));
        }
        family
    }

    #[test]
    fn every_value_arrives() {
        let mut counter = Family::new(&COUNTER);
        counter.push(["y".to_owned()], Value::Count(7));
        let mut build = Family::new(&BUILD);
        build.push([], Value::Count(1));
        let times = family(&[Buckets {
            sum: 3.5,
            count: 3,
            classic: vec![(1.0, 2), (f64::INFINITY, 1)],
            ..Buckets::default()
        }]);
        let metrics = metrics(&[counter, times, build], Histograms::Explicit);
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else {
            panic!("{metrics:?}")
        };
        assert!(sum.is_monotonic);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(7)));
        assert_eq!(point.attributes[0].key, "x");
        assert_eq!(
            (point.start_time_unix_nano, point.time_unix_nano),
            (0, 1_000_000_000)
        );
        let Some(metric::Data::Histogram(h)) = &metrics[1].data else {
            panic!("{metrics:?}")
        };
        let point = &h.data_points[0];
        assert_eq!((point.count, point.sum), (3, Some(3.5)));
        assert_eq!(point.bucket_counts, [2, 1]);
        assert_eq!(point.explicit_bounds, [1.0]);
        let units: Vec<&str> = metrics.iter().map(|m| m.unit.as_str()).collect();
        assert_eq!(units, ["{things}", "s", ""]);
        assert_eq!(metrics[2].name, "build_info");
    }

    /// The bounds of OTLP's buckets, computed from its own definition, hold the values.
    #[test]
    fn exponential_buckets_are_where_the_values_are() {
        let values = [0, 3, 3, 100, 1_000_000, 1_000_001];
        let h = exported(&of(&values), Of::References);
        let metrics = metrics(&[family(&[h])], Histograms::Exponential);
        let Some(metric::Data::ExponentialHistogram(h)) = &metrics[0].data else {
            panic!("{metrics:?}")
        };
        let point = &h.data_points[0];
        assert_eq!((point.scale, point.count, point.zero_count), (3, 6, 1));
        let positive = point.positive.as_ref().unwrap();
        let base = 2f64.powf(2f64.powi(-point.scale));
        let mut found = Vec::new();
        for (n, count) in positive.bucket_counts.iter().enumerate() {
            let index = positive.offset + n as i32;
            let (above, up_to) = (base.powi(index), base.powi(index + 1));
            found.extend((0..*count).map(|_| (above, up_to)));
        }
        assert_eq!(found.len(), 5);
        for (value, (above, up_to)) in values[1..].iter().zip(found) {
            let v = *value as f64;
            // A kernel bucket counts where its middle lies.
            assert!(
                above * 0.96 < v && v <= up_to * 1.04,
                "{v} in {above}..{up_to}"
            );
        }
    }

    #[test]
    fn a_family_without_a_distribution_has_explicit_bounds() {
        let known = exported(&of(&[5]), Of::Times);
        let both = family(&[
            known,
            Buckets {
                sum: 0.5,
                count: 2,
                classic: vec![(f64::INFINITY, 2)],
                ..Buckets::default()
            },
        ]);
        let metrics = metrics(&[both], Histograms::Exponential);
        let Some(metric::Data::Histogram(h)) = &metrics[0].data else {
            panic!("{metrics:?}")
        };
        assert_eq!(h.data_points[1].bucket_counts, [2]);
        assert!(h.data_points[1].explicit_bounds.is_empty());
    }
}
