//! The values of a metric: series, numbers and histograms.

/// The name of a label and its value.
pub type Pair = (&'static str, String);

/// One line of the page, or one histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The labels, in the same order in every series of a metric.
    pub labels: Vec<Pair>,
    /// The value.
    pub value: Value,
    /// When its count began, in seconds since 1970; `None` for what is no count, and until
    /// [`super::Births`] sets it.
    pub created: Option<f64>,
}

impl Series {
    /// The number of series that a Prometheus server makes of this one, at most: it makes one of
    /// the created timestamp too, if it scrapes OpenMetrics text.
    pub fn cost(&self) -> usize {
        let own = match &self.value {
            Value::Count(_) | Value::Number(_) => 1,
            Value::Summary { .. } => 2,
            // The buckets, the sum and the count.
            Value::Histogram(h) => h.classic.len() + 2,
        };
        own + usize::from(self.created.is_some())
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// Any number.
    Number(f64),
    /// The number of values and their sum, in the metric's unit.
    Summary {
        /// The number of observed values.
        count: u64,
        /// Their exact sum.
        sum: f64,
    },
    /// A histogram.
    Histogram(Box<Buckets>),
}

impl Value {
    /// Makes it 0.
    pub fn clear(&mut self) {
        match self {
            Value::Count(n) => *n = 0,
            Value::Number(n) => *n = 0.0,
            Value::Summary { count, sum } => (*count, *sum) = (0, 0.0),
            Value::Histogram(h) => {
                (h.count, h.sum) = (0, 0.0);
                h.classic.iter_mut().for_each(|(_, n)| *n = 0);
                h.exemplars.clear();
                if let Some(native) = &mut h.native {
                    *native = Native {
                        schema: native.schema,
                        ..Native::default()
                    };
                }
            }
        }
    }
}

/// The value of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// The exact sum of all observed values, in the metric's unit.
    pub sum: f64,
    /// The number of observed values.
    pub count: u64,
    /// Inclusive upper bounds, each with the number of values above the bound before it. The
    /// last bound is infinite.
    pub classic: Vec<(f64, u64)>,
    /// The same as a native histogram; `None` if the distribution is unknown.
    pub native: Option<Native>,
    /// Examples, by index into `classic`.
    pub exemplars: Vec<(usize, Example)>,
}

/// Sparse buckets whose bounds are powers of 2^(2^-schema).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Native {
    /// The resolution.
    pub schema: i32,
    /// The number of values that are zero.
    pub zeroes: u64,
    /// Runs of buckets: the gap since the end of the previous run (for the first run, the index
    /// of its first bucket), and the length.
    pub spans: Vec<(i32, u32)>,
    /// The count of each bucket less that of the bucket before.
    pub deltas: Vec<i64>,
}

/// One value that a histogram counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The value, in the metric's unit.
    pub value: f64,
    /// The time of the observation, in seconds since 1970.
    pub at: f64,
    /// Labels; OpenMetrics allows 128 characters in all.
    pub labels: Vec<Pair>,
}
