//! A comparison in prose.

use std::collections::BTreeMap;

use super::{
    diff::{Change, Comparison, DiffUnit},
    noise::Estimate,
};
use crate::{
    model::{capture::Capture, wording},
    snapshot::HookState,
};

/// How futile unmaps changed: the first row of the rates in a sentence.
pub(super) fn answer(rates: &[Comparison]) -> String {
    let Some(row) = rates.first() else {
        return "There is nothing to compare.".to_owned();
    };
    let (Some(a), Some(b)) = (row.a, row.b) else {
        return "No answer: one of the two captures did not measure futile unmaps.".to_owned();
    };
    let values = format!(
        "{} in A, {} in B",
        value(row.unit, a.value),
        value(row.unit, b.value)
    );
    match row.change {
        Change::Rose => format!("Futile unmaps rose: {values} ({}).", ratio(a, b)),
        Change::Fell => format!("Futile unmaps fell: {values} ({}).", ratio(a, b)),
        Change::Same if a.value == 0.0 && b.value == 0.0 => {
            "No futile unmaps, neither in A nor in B.".to_owned()
        }
        Change::Same | Change::Unknown => {
            format!("Futile unmaps have not changed beyond the noise: {values}.")
        }
    }
}

/// A value of a row with its unit.
pub fn value(unit: DiffUnit, value: f64) -> String {
    match unit {
        DiffUnit::PerSecond => format!("{}/s", number(value)),
        DiffUnit::SecondsPerSecond => format!("{}/s", wording::duration(value)),
        DiffUnit::Ratio => percent(value),
        DiffUnit::Seconds => wording::duration(value),
        DiffUnit::Count => number(value),
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 || (value.fract() == 0.0 && value >= 0.0) {
        wording::count(value.round() as u64)
    } else if value >= 0.095 {
        format!("{value:.1}")
    } else {
        format!("{value:.1e}")
    }
}

fn percent(value: f64) -> String {
    wording::share((value * 1e6).round() as u64, 1_000_000)
}

/// How much B differs from A.
pub fn ratio(a: Estimate, b: Estimate) -> String {
    if a.value == b.value {
        return "0 %".to_owned();
    }
    if a.value <= 0.0 {
        return "new".to_owned();
    }
    if b.value <= 0.0 {
        return "gone".to_owned();
    }
    let times = b.value / a.value;
    if times >= 3.0 {
        return format!("{times:.1} times");
    }
    let change = (times - 1.0) * 100.0;
    // Rounding never turns a rest into "gone".
    match change {
        c if c < -99.9 => "below -99.9 %".to_owned(),
        c if c.abs() >= 9.95 && c > -99.0 => format!("{c:+.0} %"),
        c => format!("{c:+.1} %"),
    }
}

/// The different conditions under which the two were made.
pub(super) fn unlike(a: &Capture, b: &Capture) -> Vec<String> {
    let mut said = Vec::new();
    if a.host.kernel != b.host.kernel {
        said.push(format!(
            "The kernels differ: {} in A, {} in B.",
            a.host.kernel, b.host.kernel
        ));
    }
    if a.host.cpus != b.host.cpus {
        said.push(format!(
            "A had {}, B {}.",
            wording::counted(a.host.cpus.into(), "CPU"),
            wording::counted(b.host.cpus.into(), "CPU")
        ));
    }
    let (hooks_a, hooks_b) = (active(a), active(b));
    for (name, attach) in &hooks_a {
        match hooks_b.get(name) {
            None => said.push(format!("The hook {name} was active in A only.")),
            Some(other) if other != attach => said.push(format!(
                "The hook {name} was attached by {} in A and by {} in B, so the times include a \
                 different overhead of pinscope.",
                attach.unwrap_or("unknown means"),
                other.unwrap_or("unknown means")
            )),
            Some(_) => {}
        }
    }
    for name in hooks_b.keys().filter(|n| !hooks_a.contains_key(*n)) {
        said.push(format!("The hook {name} was active in B only."));
    }
    for (capture, side) in [(a, "A"), (b, "B")] {
        if let Some(incomplete) = &capture.incomplete {
            said.push(format!(
                "The recording of {side} is incomplete: {}.",
                incomplete.reason
            ));
        }
        if capture.lost.keys > 0 {
            said.push(format!(
                "{side} lost {} because a map was full.",
                wording::counted(capture.lost.keys, "count")
            ));
        }
    }
    said
}

/// The active hooks and how each is attached.
fn active(capture: &Capture) -> BTreeMap<&str, Option<&'static str>> {
    capture
        .hooks
        .iter()
        .filter(|h| h.state == HookState::Active)
        .map(|h| (h.name.as_str(), h.attach.map(|a| a.name())))
        .collect()
}
