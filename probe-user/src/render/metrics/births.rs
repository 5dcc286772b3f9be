//! When the count of each series began.
//!
//! A server that sees a series for the first time does not know how much of its value is new. Two
//! things help: the series begins at 0, or the page says since when it counts. Series of a known
//! set of labels are there from the first page on, at 0. One that appears later, such as that of a
//! new subscriber, is 0 on the page where it appears, and has its value from the next page on; and
//! its created timestamp is the time of the page before, where it still was 0.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{family::Family, value::Series};

/// The series of the last page and when the count of each began.
#[derive(Debug, Default)]
pub struct Births {
    /// By a hash of name and labels: a page has some thousand series, and the strings of all would
    /// take more memory than the page.
    begun: HashMap<u64, f64>,
    /// The time of the last page.
    last: Option<f64>,
}

impl Births {
    /// Sets the created timestamps of a page, and begins new series at 0. Times are in seconds since
    /// 1970: counting began at `attached`, and the page shows the counts of `now`.
    ///
    /// It has to see every page before the budget drops series: a series that comes back is not new.
    pub fn mark(&mut self, families: &mut [Family], attached: f64, now: f64) {
        let mut begun = HashMap::with_capacity(self.begun.len());
        for family in families.iter_mut().filter(|f| f.metric.kind.counts()) {
            let name = family.metric.name;
            for series in family.series.iter_mut().filter(|s| s.created.is_none()) {
                let key = key(name, series);
                let created = match (self.begun.get(&key), self.last) {
                    (Some(created), _) => *created,
                    (None, None) => attached,
                    (None, Some(last)) => {
                        series.value.clear();
                        last
                    }
                };
                series.created = Some(created);
                begun.insert(key, created);
            }
        }
        self.begun = begun;
        self.last = Some(now);
    }
}

fn key(name: &str, series: &Series) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    series.labels.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::metrics::{
        buckets::{Of, exported},
        family::{Kind, Label, Metric, Unit},
        value::Value,
    };

    static A: Metric = Metric {
        labels: &[Label {
            name: "x",
            meaning: "",
        }],
        ..Metric::bare("a", Unit::Of("things"), Kind::Counter)
    };
    static G: Metric = Metric::bare("g", Unit::Of("things"), Kind::Gauge);
    static H: Metric = Metric::bare("h", Unit::Seconds, Kind::Histogram);

    fn page(of: &[(&str, u64)]) -> Vec<Family> {
        let mut family = Family::new(&A);
        for (x, n) in of {
            family.push([(*x).to_owned()], Value::Count(*n));
        }
        let mut gauge = Family::new(&G);
        gauge.push([], Value::Count(7));
        vec![family, gauge]
    }

    fn shown(page: &[Family]) -> Vec<(Value, Option<f64>)> {
        let series = page[0].series.iter();
        series.map(|s| (s.value.clone(), s.created)).collect()
    }

    #[test]
    fn what_appears_later_begins_at_0_after_the_page_before() {
        let mut births = Births::default();
        let mut first = page(&[("p", 5)]);
        births.mark(&mut first, 100.0, 110.0);
        // All counts of the first page began with the counting.
        assert_eq!(shown(&first), [(Value::Count(5), Some(100.0))]);
        assert_eq!(first[1].series[0].created, None, "a gauge has none");
        let mut second = page(&[("p", 6), ("q", 3)]);
        births.mark(&mut second, 100.0, 120.0);
        let p = (Value::Count(6), Some(100.0));
        assert_eq!(shown(&second), [p, (Value::Count(0), Some(110.0))]);
        let mut third = page(&[("q", 4)]);
        births.mark(&mut third, 100.0, 130.0);
        assert_eq!(shown(&third), [(Value::Count(4), Some(110.0))]);
        // A series that was gone counts anew.
        let mut fourth = page(&[("p", 1), ("q", 4)]);
        births.mark(&mut fourth, 100.0, 140.0);
        assert_eq!(shown(&fourth)[0], (Value::Count(0), Some(130.0)));
    }

    #[test]
    fn a_collector_may_know_better() {
        let mut births = Births::default();
        births.mark(&mut page(&[]), 100.0, 110.0);
        let mut second = page(&[("p", 5)]);
        second[0].series[0].created = Some(50.0);
        births.mark(&mut second, 100.0, 120.0);
        assert_eq!(shown(&second), [(Value::Count(5), Some(50.0))]);
    }

    #[test]
    fn a_histogram_begins_with_empty_buckets() {
        let mut births = Births::default();
        births.mark(&mut [], 100.0, 110.0);
        let h = crate::model::capture::histogram::of(&[5, 2_000]);
        let value = Value::Histogram(Box::new(exported(&h, Of::Times)));
        let mut family = Family::new(&H);
        family.push([], value);
        let mut page = [family];
        births.mark(&mut page, 100.0, 120.0);
        let Value::Histogram(h) = &page[0].series[0].value else {
            panic!("{page:?}")
        };
        assert_eq!((h.count, h.sum), (0, 0.0));
        assert!(h.classic.iter().all(|(_, n)| *n == 0) && h.classic.len() > 2);
        let native = h.native.as_ref().unwrap();
        assert!(native.spans.is_empty() && native.deltas.is_empty() && native.zeroes == 0);
    }
}
