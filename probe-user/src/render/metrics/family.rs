//! What is exported, before it has a format.

/// A label and its value.
pub type Label = (&'static str, String);

/// All series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name without the suffixes of its kind and without its unit.
    pub name: &'static str,
    /// What it is, in a sentence without its full stop.
    pub help: &'static str,
    /// `seconds`, `bytes`; part of the full name.
    pub unit: Option<&'static str>,
    /// The kind of all values.
    pub kind: Kind,
    /// One for each combination of labels.
    pub series: Vec<Series>,
}

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// Always 1, told by its labels; its name ends in `_info`.
    Info,
}

/// One line, or one histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, always in the same order within a family.
    pub labels: Vec<Label>,
    /// Its value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// Any number.
    Number(f64),
    /// A histogram.
    Histogram(Box<Buckets>),
}

/// A histogram's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// The sum of all values, in the family's unit: a real sum.
    pub sum: f64,
    /// How many values.
    pub count: u64,
    /// Inclusive upper bounds and how many values lie between each and the one before; the last
    /// bound is infinite.
    pub classic: Vec<(f64, u64)>,
    /// The same as a native histogram; `None` where the distribution isn't known.
    pub native: Option<Native>,
    /// Examples, by index into `classic`.
    pub exemplars: Vec<(usize, Example)>,
}

/// Sparse buckets whose bounds are powers of 2^(2^-schema).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Native {
    /// The resolution.
    pub schema: i32,
    /// Values of zero.
    pub zeroes: u64,
    /// Runs of buckets: the gap since the last run's end (the first: the index), and the length.
    pub spans: Vec<(i32, u32)>,
    /// Each bucket's count less that of the one before.
    pub deltas: Vec<i64>,
}

/// One value that a histogram counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The value, in the family's unit.
    pub value: f64,
    /// When it was seen, in seconds since 1970.
    pub at: f64,
    /// Who and what; at most 128 characters in all, as OpenMetrics has it.
    pub labels: Vec<Label>,
}

impl Family {
    /// A family without series yet.
    pub fn new(
        name: &'static str,
        unit: Option<&'static str>,
        kind: Kind,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            help,
            unit,
            kind,
            series: Vec::new(),
        }
    }

    /// With one more series.
    pub fn push(&mut self, labels: Vec<Label>, value: Value) {
        self.series.push(Series { labels, value });
    }

    /// The name that queries use, without a histogram's suffixes.
    pub fn full_name(&self) -> String {
        let mut name = self.name.to_owned();
        if let Some(unit) = self.unit {
            name.push('_');
            name.push_str(unit);
        }
        match self.kind {
            Kind::Counter => name.push_str("_total"),
            Kind::Info => name.push_str("_info"),
            Kind::Gauge | Kind::Histogram => {}
        }
        name
    }
}

impl Series {
    /// How many series a Prometheus server makes of it.
    pub fn cost(&self) -> usize {
        match &self.value {
            Value::Count(_) | Value::Number(_) => 1,
            // The buckets, the sum and the count.
            Value::Histogram(h) => h.classic.len() + 2,
        }
    }
}

/// Keeps to a number of series: from the first family on, until it is used up. Returns how many
/// were left out. The families' order is that of their worth, so what goes first is the detail.
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
mod tests {
    use super::*;

    #[test]
    fn a_budget_keeps_what_comes_first() {
        let mut a = Family::new("a", None, Kind::Counter, "");
        a.push(vec![], Value::Count(1));
        let mut h = Family::new("h", Some("seconds"), Kind::Histogram, "");
        let buckets = Buckets {
            classic: vec![(1.0, 0), (f64::INFINITY, 0)],
            ..Buckets::default()
        };
        h.push(vec![], Value::Histogram(Box::new(buckets)));
        let mut b = Family::new("b", None, Kind::Gauge, "");
        b.push(vec![], Value::Number(1.0));
        let all = vec![a, h, b];
        let mut kept = all.clone();
        assert_eq!(keep_to(&mut kept, 6), 0);
        assert_eq!(kept, all);
        assert_eq!(keep_to(&mut kept, 3), 4);
        assert_eq!(kept.len(), 2);
        assert_eq!(all[1].full_name(), "h_seconds");
        assert_eq!(all[0].full_name(), "a_total");
    }
}
