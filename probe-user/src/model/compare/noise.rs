//! How far a rate may be off by chance.
//!
//! Reclaim comes in bursts, so a count is far less certain than its square root suggests. The
//! samples of a recording show by their scatter how much less (quasi-Poisson). Without samples
//! only the square root is available, and reports say so.

use serde::{Deserialize, Serialize};

/// Half the width of an interval that contains the true value in 99.7 % of cases, in standard
/// errors.
const WIDTH: f64 = 3.0;
/// The most parts of a series: neighbouring samples depend on each other, so that more parts
/// would promise too much.
const PARTS: usize = 12;
/// The fewest parts whose scatter means anything.
const FEWEST: usize = 4;

/// A value and its margin of error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// The true value differs by at most this much in 99.7 % of cases.
    pub margin: f64,
}

/// An amount in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    /// The length of the stretch.
    pub seconds: f64,
    /// The amount in it.
    pub amount: f64,
}

/// How much more a series scatters than independent counts do: at least 1; `None` with too few
/// parts.
pub fn scatter(parts: &[Part], count: u64) -> Option<f64> {
    let parts = gathered(parts);
    let (seconds, amount) = sums(&parts);
    if parts.len() < FEWEST || seconds <= 0.0 {
        return None;
    }
    if amount <= 0.0 || count == 0 {
        return Some(1.0);
    }
    let freedom = (parts.len() - 1) as f64;
    let rate = amount / seconds;
    // The variance of the amount per second.
    let variance = parts
        .iter()
        .map(|p| (p.amount - rate * p.seconds).powi(2) / p.seconds)
        .sum::<f64>()
        / freedom;
    let relative = (variance * seconds).sqrt() / amount;
    // Few parts estimate the scatter itself badly: an approximation of Student's t.
    let student = 1.0 + 2.5 / freedom + 6.0 / (freedom * freedom);
    Some((relative * student * (count as f64).sqrt()).max(1.0))
}

/// The rate of `amount`, which `count` independent things make up, over `seconds`.
pub fn rate(amount: f64, count: u64, seconds: f64, scatter: Option<f64>) -> Option<Estimate> {
    if !(seconds > 0.0 && amount.is_finite()) {
        return None;
    }
    // Even if nothing was seen in the time, the true rate may be above 0.
    let one = if count == 0 {
        1.0
    } else {
        amount / count as f64
    };
    let error = one * ((count.max(1)) as f64).sqrt();
    Some(Estimate {
        value: amount / seconds,
        margin: WIDTH * error * scatter.unwrap_or(1.0).max(1.0) / seconds,
    })
}

/// Whether the two differ by more than chance explains.
pub fn differ(a: Estimate, b: Estimate) -> bool {
    (a.value - b.value).abs() > a.margin.hypot(b.margin)
}

/// The ranks, from 0 to 1, between which the true quantile lies when `count` values were seen.
pub fn ranks(quantile: f64, count: u64) -> (f64, f64) {
    let spread = WIDTH * (quantile * (1.0 - quantile) / (count.max(1)) as f64).sqrt();
    ((quantile - spread).max(0.0), (quantile + spread).min(1.0))
}

/// Joins neighbours until there are at most [`PARTS`].
fn gathered(parts: &[Part]) -> Vec<Part> {
    let whole: Vec<Part> = parts.iter().copied().filter(|p| p.seconds > 0.0).collect();
    let size = whole.len().div_ceil(PARTS).max(1);
    whole
        .chunks(size)
        .map(|some| {
            let (seconds, amount) = sums(some);
            Part { seconds, amount }
        })
        .collect()
}

fn sums(parts: &[Part]) -> (f64, f64) {
    parts
        .iter()
        .fold((0.0, 0.0), |(s, a), p| (s + p.seconds, a + p.amount))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(amounts: &[f64]) -> Vec<Part> {
        let part = |&amount| Part {
            seconds: 1.0,
            amount,
        };
        amounts.iter().map(part).collect()
    }

    #[test]
    fn even_counts_have_the_margin_of_their_square_root() {
        let even = parts(&[100.0; 12]);
        assert_eq!(scatter(&even, 1200), Some(1.0));
        let r = rate(1200.0, 1200, 12.0, Some(1.0)).unwrap();
        assert!((r.value - 100.0).abs() < 1e-9);
        assert!((r.margin - 3.0 * 1200f64.sqrt() / 12.0).abs() < 1e-9);
    }

    #[test]
    fn bursts_widen_it() {
        let bursts = parts(&[
            0.0, 0.0, 0.0, 1200.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        ]);
        let s = scatter(&bursts, 1200).unwrap();
        assert!(s > 30.0, "{s}");
        let burst = rate(1200.0, 1200, 12.0, Some(s)).unwrap();
        // One burst says nothing of how often bursts come.
        assert!(burst.margin > burst.value);
        assert!(!differ(burst, rate(0.0, 0, 12.0, Some(1.0)).unwrap()));
    }

    #[test]
    fn what_is_far_apart_differs_and_what_is_near_does_not() {
        let of = |n: u64| rate(n as f64, n, 10.0, Some(1.0)).unwrap();
        assert!(differ(of(10_000), of(11_000)));
        assert!(!differ(of(10_000), of(10_100)));
        assert!(!differ(of(0), of(0)));
        assert!(!differ(of(0), of(3)));
        assert!(differ(of(0), of(100)));
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(scatter(&parts(&[1.0, 2.0, 3.0]), 6), None);
        assert_eq!(rate(1.0, 1, 0.0, None), None);
        assert_eq!(ranks(0.5, 0), (0.0, 1.0));
        let (low, high) = ranks(0.99, 10_000);
        assert!(low > 0.98 && high < 1.0, "{low} {high}");
    }

    #[test]
    fn many_samples_are_joined() {
        assert_eq!(gathered(&parts(&[1.0; 100])).len(), 12);
        assert_eq!(gathered(&parts(&[1.0; 5])).len(), 5);
        assert!(gathered(&[]).is_empty());
    }
}
