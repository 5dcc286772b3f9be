//! The histograms of a capture, with their titles and percentiles.

use crate::model::{
    capture::{Capture, HistogramReport, Number, Unit},
    wording,
};

/// Values that must lie beyond a percentile for it to say more than the maximum does.
const BEYOND: u64 = 1;

/// One histogram and how renderers call it.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution<'a> {
    /// A short name, which also identifies it: `unmap time`.
    pub name: &'static str,
    /// A heading: `Time of a futile unmap`.
    pub title: &'static str,
    /// What there is to add to the heading: counts and sums; empty without a value.
    pub note: String,
    /// The histogram; `None`: not measured.
    pub histogram: Option<&'a HistogramReport>,
}

impl<'a> Distribution<'a> {
    /// The histogram, if it holds any value.
    pub fn filled(&self) -> Option<&'a HistogramReport> {
        self.histogram.filter(|h| h.count > 0)
    }
}

/// All histograms that this version measures, in the order of renderers.
pub fn distributions(capture: &Capture) -> [Distribution<'_>; 4] {
    let h = &capture.histograms;
    let times = |h: Option<&HistogramReport>| {
        h.map_or_else(String::new, |h| {
            format!(
                "{}, {} in all",
                wording::counted(h.count, "unmap"),
                wording::duration(h.sum.0)
            )
        })
    };
    let folios = |h: &HistogramReport| {
        format!(
            "{}, {}",
            wording::counted(h.count, "folio"),
            wording::counted(h.sum.0 as u64, "unmap")
        )
    };
    let (unmap, notifier) = (h.unmap_seconds.as_ref(), h.notifier_seconds.as_ref());
    let again = h.unmaps_per_folio.as_ref();
    [
        Distribution {
            name: "unmap time",
            title: "Time of a futile unmap",
            note: times(unmap),
            histogram: unmap,
        },
        Distribution {
            name: "notifier time",
            title: "Notifier time of a futile unmap",
            note: times(notifier),
            histogram: notifier,
        },
        Distribution {
            name: "excess references",
            title: "Excess references of futile unmaps",
            note: "one pin is 1,024 on a small folio".to_owned(),
            histogram: h.excess_references.as_ref(),
        },
        Distribution {
            name: "unmaps per folio",
            title: "Futile unmaps per folio",
            note: again.map_or_else(String::new, folios),
            histogram: again,
        },
    ]
}

/// p50, p90, p99, p99.9 and max with their names. A percentile is `None` where too few values
/// lie beyond it.
pub fn percentiles(h: &HistogramReport) -> [(&'static str, Option<Number>); 5] {
    let borne = |p: Option<Number>, part: u64| p.filter(|_| h.count / part > BEYOND);
    [
        ("p50", h.p50),
        ("p90", borne(h.p90, 10)),
        ("p99", borne(h.p99, 100)),
        ("p99.9", borne(h.p999, 1000)),
        ("max", h.max),
    ]
}

/// A value of a histogram in words.
pub fn value(unit: Unit, v: Number) -> String {
    match unit {
        Unit::Seconds => wording::duration(v.0),
        Unit::References | Unit::Unmaps => wording::count(v.0 as u64),
    }
}
