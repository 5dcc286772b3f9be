//! Families as an OTLP metrics request (opentelemetry-proto, `metrics.proto`). Names lack the
//! suffixes that a Prometheus server adds by unit and kind.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric, number_data_point,
    },
    resource::v1::Resource,
};

use super::{
    family::{Family, Kind, Unit},
    value::{Pair, Series, Value},
};

/// Returns a request with all families.
pub fn request(
    families: &[Family],
    hostname: &str,
    start: SystemTime,
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let times = (nanos(start), nanos(now));
    let attributes = vec![
        attribute("service.name", "pinscope"),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
        attribute("host.name", hostname),
    ];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes,
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "pinscope".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: families.iter().map(|f| metric(f, times)).collect(),
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

fn metric(family: &Family, times: (u64, u64)) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
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
        Kind::Histogram => metric::Data::Histogram(Histogram {
            data_points: histograms(&family.series, times),
            aggregation_temporality: cumulative,
        }),
    };
    let suffix = if defined.kind == Kind::Info {
        "_info"
    } else {
        ""
    };
    Metric {
        name: format!("{}{suffix}", defined.name),
        description: defined.help.to_owned(),
        unit: match defined.unit {
            Unit::Seconds => "s",
            Unit::Bytes => "By",
            Unit::Of(_) => "1",
        }
        .to_owned(),
        data: Some(data),
        ..Metric::default()
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
            start_time_unix_nano: start,
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
            start_time_unix_nano: start,
            time_unix_nano: now,
            count,
            sum,
            ..SummaryDataPoint::default()
        })
        .collect()
}

fn histograms(series: &[Series], (start, now): (u64, u64)) -> Vec<HistogramDataPoint> {
    let known = series.iter().filter_map(|s| match &s.value {
        Value::Histogram(h) => Some((s, h)),
        _ => None,
    });
    known
        .map(|(s, h)| HistogramDataPoint {
            attributes: attributes(&s.labels),
            start_time_unix_nano: start,
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
            ..HistogramDataPoint::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::metrics::{
        family::{Label, Metric},
        value::Buckets,
    };

    static COUNTER: Metric = Metric {
        labels: &[Label {
            name: "x",
            meaning: "",
        }],
        ..Metric::bare("a", Unit::Of("things"), Kind::Counter)
    };
    static TIMES: Metric = Metric::bare("t", Unit::Seconds, Kind::Histogram);

    #[test]
    fn every_value_arrives() {
        let mut counter = Family::new(&COUNTER);
        counter.push(["y".to_owned()], Value::Count(7));
        let mut times = Family::new(&TIMES);
        let buckets = Buckets {
            sum: 3.5,
            count: 3,
            classic: vec![(1.0, 2), (f64::INFINITY, 1)],
            ..Buckets::default()
        };
        times.push([], Value::Histogram(Box::new(buckets)));
        let request = request(&[counter, times], "h", UNIX_EPOCH, SystemTime::now());
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else {
            panic!("{metrics:?}")
        };
        assert!(sum.is_monotonic);
        assert_eq!(
            sum.data_points[0].value,
            Some(number_data_point::Value::AsInt(7))
        );
        assert_eq!(sum.data_points[0].attributes[0].key, "x");
        let Some(metric::Data::Histogram(h)) = &metrics[1].data else {
            panic!("{metrics:?}")
        };
        let point = &h.data_points[0];
        assert_eq!((point.count, point.sum), (3, Some(3.5)));
        assert_eq!(point.bucket_counts, [2, 1]);
        assert_eq!(point.explicit_bounds, [1.0]);
        assert_eq!(metrics[1].unit, "s");
    }
}
