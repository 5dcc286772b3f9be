//! How far a rate may be off by chance.
//!
//! Reclaim comes in bursts, so a count is known far worse than its square root says. Where a
//! recording has the looks in between, their scatter tells how much worse (quasi-Poisson);
//! elsewhere the square root is all there is, and that is said.

use serde::{Deserialize, Serialize};

/// Half the width of an interval that holds the truth in 99.7 % of cases, in standard errors.
const WIDTH: f64 = 3.0;
/// Parts that a series is brought to: neighbouring looks hang together, so that more of them
/// would promise too much.
const PARTS: usize = 12;
/// With fewer parts their scatter says nothing.
const FEWEST: usize = 4;

/// A value, and how far it may be off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The value.
    pub value: f64,
    /// The truth is within this of it, in 99.7 % of cases.
    pub margin: f64,
}

/// What came in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    /// How long it was.
    pub seconds: f64,
    /// How much came in it.
    pub amount: f64,
}

/// How much more a series scatters than counts that come singly: 1 at least, `None` where
/// there are too few parts to tell.
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
    // The variance of what comes in a second.
    let variance = parts
        .iter()
        .map(|p| (p.amount - rate * p.seconds).powi(2) / p.seconds)
        .sum::<f64>()
        / freedom;
    let relative = (variance * seconds).sqrt() / amount;
    // Few parts tell the scatter itself badly: Student's t, as near as matters here.
    let student = 1.0 + 2.5 / freedom + 6.0 / (freedom * freedom);
    Some((relative * student * (count as f64).sqrt()).max(1.0))
}

/// What came in a second: `amount` in all, made of `count` single things.
pub fn rate(amount: f64, count: u64, seconds: f64, scatter: Option<f64>) -> Option<Reading> {
    if !(seconds > 0.0 && amount.is_finite()) {
        return None;
    }
    // Of nothing seen in the time, a little may have been missed all the same.
    let one = if count == 0 {
        1.0
    } else {
        amount / count as f64
    };
    let error = one * ((count.max(1)) as f64).sqrt();
    Some(Reading {
        value: amount / seconds,
        margin: WIDTH * error * scatter.unwrap_or(1.0).max(1.0) / seconds,
    })
}

/// Whether the two differ by more than chance gives.
pub fn differ(a: Reading, b: Reading) -> bool {
    (a.value - b.value).abs() > a.margin.hypot(b.margin)
}

/// Ranks, from 0 to 1, between which the quantile of all lies, when `count` values were seen.
pub fn ranks(quantile: f64, count: u64) -> (f64, f64) {
    let spread = WIDTH * (quantile * (1.0 - quantile) / (count.max(1)) as f64).sqrt();
    ((quantile - spread).max(0.0), (quantile + spread).min(1.0))
}

/// Neighbours taken together until there are no more than [`PARTS`].
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
    fn many_looks_are_taken_together() {
        assert_eq!(gathered(&parts(&[1.0; 100])).len(), 12);
        assert_eq!(gathered(&parts(&[1.0; 5])).len(), 5);
        assert!(gathered(&[]).is_empty());
    }
}
