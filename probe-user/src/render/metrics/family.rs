//! The definition of a metric, and the family of series that its collector makes.

use probe_ebpf::Hook;

use super::{
    input::Page,
    value::{Series, Value},
};

/// The one definition of a metric: the page, OTLP and the tables of docs/numbers.md come from it.
#[derive(Debug)]
pub struct Metric {
    /// The name without its unit and without the suffix of its kind.
    pub name: &'static str,
    /// The unit of all values.
    pub unit: Unit,
    /// The kind of all values.
    pub kind: Kind,
    /// What a value is, in one sentence without its full stop: the help text of the page.
    pub help: &'static str,
    /// Sentences that docs/numbers.md adds to the help; may be empty.
    pub details: &'static str,
    /// The labels, in their order on the page.
    pub labels: &'static [Label],
    /// The hooks without which the metric is absent.
    pub needs: &'static [Hook],
    /// The option of `pinscope export` without which the metric is absent.
    pub option: Option<&'static str>,
    /// Adds the series. It runs only if all hooks in `needs` are attached.
    pub collect: fn(&Page<'_>, &mut Family),
}

impl Metric {
    /// Returns the name with its unit, and without the suffix of its kind: the name of the family
    /// in OpenMetrics.
    pub fn base_name(&self) -> String {
        match self.unit.suffix() {
            Some(unit) => format!("{}_{unit}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Returns the name that queries use, without the suffixes of a histogram or a summary.
    pub fn full_name(&self) -> String {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram | Kind::Summary => "",
        };
        self.base_name() + suffix
    }
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that only grows; the name ends in `_total`.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// A sum and a count.
    Summary,
    /// Always 1, with the information in the labels; the name ends in `_info`.
    Info,
}

impl Kind {
    /// Returns the word that text formats use; Prometheus text has no info.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        }
    }

    /// Whether values of this kind count something since a moment.
    pub const fn counts(self) -> bool {
        matches!(self, Kind::Counter | Kind::Histogram | Kind::Summary)
    }
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; part of the name.
    Seconds,
    /// Bytes; part of the name.
    Bytes,
    /// A number of these things; not part of the name.
    Of(&'static str),
}

impl Unit {
    /// Returns the unit's part of the name.
    pub const fn suffix(self) -> Option<&'static str> {
        match self {
            Unit::Seconds => Some("seconds"),
            Unit::Bytes => Some("bytes"),
            Unit::Of(_) => None,
        }
    }

    /// Returns the unit in words.
    pub const fn words(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            Unit::Of(things) => things,
        }
    }
}

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name.
    pub name: &'static str,
    /// What the values are, in Markdown.
    pub meaning: &'static str,
}

/// All series of a metric.
#[derive(Clone, Debug)]
pub struct Family {
    /// The definition.
    pub metric: &'static Metric,
    /// One series for each combination of labels.
    pub series: Vec<Series>,
}

impl Family {
    /// Returns a family without series.
    pub const fn new(metric: &'static Metric) -> Self {
        Self {
            metric,
            series: Vec::new(),
        }
    }

    /// Adds a series, with a value for each label of the definition.
    pub fn push<const N: usize>(&mut self, labels: [String; N], value: Value) {
        debug_assert_eq!(N, self.metric.labels.len(), "{}", self.metric.name);
        let names = self.metric.labels.iter().map(|l| l.name);
        let labels = names.zip(labels).collect();
        self.series.push(Series {
            labels,
            value,
            created: None,
        });
    }

    /// Adds a series whose count began at a known time, in seconds since 1970.
    pub fn push_since<const N: usize>(&mut self, labels: [String; N], value: Value, since: f64) {
        self.push(labels, value);
        if let Some(series) = self.series.last_mut() {
            series.created = Some(since);
        }
    }
}

/// Drops the series that exceed the budget, and returns their number. The families are in the
/// order of their worth: a series is kept if the series before it leave room.
pub fn keep_to(families: &mut Vec<Family>, budget: usize) -> u64 {
    let mut left = budget;
    let mut dropped = 0;
    for family in families.iter_mut() {
        family.series.retain(|series| {
            let cost = series.cost();
            let fits = cost <= left;
            if fits {
                left -= cost;
            } else {
                dropped += cost as u64;
            }
            fits
        });
    }
    families.retain(|f| !f.series.is_empty());
    dropped
}

#[cfg(test)]
impl Metric {
    /// Returns a definition that collects nothing.
    pub(super) const fn bare(name: &'static str, unit: Unit, kind: Kind) -> Self {
        Self {
            name,
            unit,
            kind,
            help: "",
            details: "",
            labels: &[],
            needs: &[],
            option: None,
            collect: |_, _| {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::metrics::value::Buckets;

    static A: Metric = Metric::bare("a", Unit::Of("things"), Kind::Counter);
    static H: Metric = Metric::bare("h", Unit::Seconds, Kind::Histogram);
    static B: Metric = Metric::bare("b", Unit::Of("things"), Kind::Gauge);

    #[test]
    fn a_budget_keeps_what_comes_first() {
        let mut a = Family::new(&A);
        a.push([], Value::Count(1));
        let mut h = Family::new(&H);
        let buckets = Buckets {
            classic: vec![(1.0, 0), (f64::INFINITY, 0)],
            ..Buckets::default()
        };
        h.push([], Value::Histogram(Box::new(buckets)));
        let mut b = Family::new(&B);
        b.push([], Value::Number(1.0));
        let mut kept = vec![a, h, b];
        assert_eq!(keep_to(&mut kept, 6), 0);
        assert_eq!(kept.len(), 3);
        assert_eq!(keep_to(&mut kept, 3), 4);
        let names: Vec<&str> = kept.iter().map(|f| f.metric.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(H.full_name(), "h_seconds");
        assert_eq!(A.full_name(), "a_total");
    }
}
