//! A benchmark's results: parsed from the script's output, and shown as a table with ratios.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::commands::bench::catalogue::{Bench, Ratio};

/// Returns the script's further results: the texts of its lines `figure NAME TEXT`.
pub(super) fn figures(text: &str, name: &str) -> Vec<String> {
    let prefix = format!("figure {name} ");
    text.lines()
        .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}

/// A variant's name and times.
pub(super) type Times = (String, Vec<f64>);

/// Returns each variant's times, in the order in which the variants first appear.
pub(super) fn times(text: &str, name: &str) -> Vec<Times> {
    let mut order: Vec<Times> = Vec::new();
    let mut place: BTreeMap<String, usize> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["bench", of, variant, seconds] = words.as_slice() else {
            continue;
        };
        let Ok(seconds) = seconds.parse::<f64>() else {
            continue;
        };
        if *of != name || !seconds.is_finite() {
            continue;
        }
        let at = *place.entry((*variant).to_string()).or_insert_with(|| {
            order.push(((*variant).to_string(), Vec::new()));
            order.len() - 1
        });
        if let Some((_, list)) = order.get_mut(at) {
            list.push(seconds);
        }
    }
    order
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// Formats the table of one benchmark. The flag is whether all its ratios could be computed.
pub(super) fn report(bench: &Bench, series: &str, times: &[Times]) -> (String, bool) {
    let of = |name: &str| {
        times
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, t)| median(t))
    };
    let width = times.iter().map(|(n, _)| n.len()).max().unwrap_or(0).max(7);
    let mut text = format!(
        "\n{} (Linux {series}, {} CPUs): {}\n",
        bench.name, bench.cpus, bench.about
    );
    let _ = writeln!(
        text,
        "{:width$}  {:>4}  {:>9}  {:>9}  {:>9}",
        "variant", "runs", "median s", "least s", "most s"
    );
    for (name, list) in times {
        let least = list.iter().copied().fold(f64::INFINITY, f64::min);
        let most = list.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let middle = median(list).unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "{name:width$}  {:>4}  {middle:>9.4}  {least:>9.4}  {most:>9.4}",
            list.len()
        );
    }
    let mut complete = true;
    for wanted in bench.ratios {
        let (what, value) = match *wanted {
            Ratio::Plain { of: a, to: b } => (format!("{a} / {b}"), ratio(of(a), of(b))),
            Ratio::Added { base, of: a, to: b } => {
                let above = |name| Some(of(name)? - of(base)?);
                (
                    format!("({a} - {base}) / ({b} - {base})"),
                    ratio(above(a), above(b)),
                )
            }
        };
        let _ = match value {
            Some(value) => writeln!(text, "ratio {what} = {value:.3}"),
            None => writeln!(text, "ratio {what}: not measured"),
        };
        complete &= value.is_some();
    }
    (text, complete)
}

fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    let (of, to) = (of?, to?);
    (to > 0.0).then_some(of / to)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "bench cost none 1.0\nnoise\nbench cost ours 1.4\nbench cost script 2.0\n\
                        bench other none 9\nbench cost none 3.0\nbench cost none 1.2\nbench cost ours x\n";

    #[test]
    fn lines_and_medians() {
        let times = times(TEXT, "cost");
        assert_eq!(times.len(), 3);
        assert_eq!(times[0], ("none".to_string(), vec![1.0, 3.0, 1.2]));
        assert_eq!(median(&times[0].1), Some(1.2));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios() {
        let bench = |ratios| Bench {
            name: "cost",
            about: "",
            kernel: "6.12",
            cpus: 2,
            counted: false,
            script: "",
            tools: &[],
            ratios,
        };
        let times = times(TEXT, "cost");
        let (text, complete) = report(
            &bench(&[Ratio::Added {
                base: "none",
                of: "ours",
                to: "script",
            }]),
            "6.12",
            &times,
        );
        assert!(complete);
        assert!(
            text.ends_with("ratio (ours - none) / (script - none) = 0.250\n"),
            "{text}"
        );
        let (text, complete) = report(
            &bench(&[Ratio::Plain {
                of: "ours",
                to: "gone",
            }]),
            "6.12",
            &times,
        );
        assert!(!complete);
        assert!(text.ends_with("not measured\n"), "{text}");
    }
}
