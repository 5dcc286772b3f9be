//! Compares two captures: rates, percentiles, victims and reclaimers, with regard to the noise.
//!
//! | file | holds |
//! |---|---|
//! | [`diff`] | the comparison as data |
//! | [`noise`] | how far a rate may be off by chance |
//! | `measures` | the counts of a capture as rates with margins |
//! | `rows` | the rows of the comparison |
//! | [`sentences`] | the comparison in prose |

pub mod diff;
mod measures;
pub mod noise;
mod rows;
pub mod sentences;

use std::collections::BTreeSet;

pub use diff::{Change, Comparison, Diff, DiffUnit, Side};
pub use measures::Subject;

use self::measures::Measures;
use super::capture::Capture;

impl Diff {
    /// Compares `b` with `a`.
    pub fn of(a: Subject<'_>, b: Subject<'_>) -> Self {
        let (of_a, of_b) = (Measures::new(a, b), Measures::new(b, a));
        let rates = rows::rates(&of_a, &of_b);
        Self {
            schema: diff::SCHEMA.to_owned(),
            a: side(a),
            b: side(b),
            answer: sentences::answer(&rates),
            unlike: sentences::unlike(a.capture, b.capture),
            rates,
            percentiles: rows::percentiles(a.capture, b.capture),
            victims: rows::keyed(&of_a, &of_b, rows::victims),
            reclaimers: rows::keyed(&of_a, &of_b, rows::reclaimers),
            subscribers: rows::keyed(&of_a, &of_b, rows::subscribers),
            findings_gone: only(a.capture, b.capture),
            findings_new: only(b.capture, a.capture),
        }
    }
}

fn side(subject: Subject<'_>) -> Side {
    let Capture { host, window, .. } = subject.capture;
    Side {
        name: subject.name.to_owned(),
        hostname: host.hostname.clone(),
        kernel: host.kernel.clone(),
        start: window.start.clone(),
        seconds: window.seconds,
        samples: subject.samples.len(),
    }
}

/// The ids of findings that `a` has and `b` lacks.
fn only(a: &Capture, b: &Capture) -> Vec<String> {
    let there: BTreeSet<&str> = b.findings.iter().map(|f| f.id.as_str()).collect();
    a.findings
        .iter()
        .filter(|f| !there.contains(f.id.as_str()))
        .map(|f| f.id.clone())
        .collect()
}
