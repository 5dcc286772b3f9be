//! `pinscope diff`: changes, the noise, and bad input.

// clippy.toml allows these in tests, and takes the helpers beside them for something else.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::Path, process::Output};

use assert_cmd::Command;
use pinscope::{
    model::{Capture, Diff, Subject, compare::Change},
    render::text::{self, Style},
};
use probe_ebpf::Verdict;

const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/capture.json");
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/v1.pscope");

fn capture() -> Capture {
    pinscope::render::json::read(&std::fs::read_to_string(CAPTURE).unwrap()).unwrap()
}

fn diff(a: &Capture, b: &Capture) -> Diff {
    let subject = |name, capture| Subject {
        name,
        capture,
        samples: &[],
    };
    Diff::of(subject("a.json", a), subject("b.json", b))
}

/// The capture with its futile unmaps, and what depends on them, multiplied.
fn times(capture: &Capture, factor: f64) -> Capture {
    let mut c = capture.clone();
    let scaled = |n: u64| (n as f64 * factor).round() as u64;
    for verdict in [Verdict::FutilePinned, Verdict::FutileReferenced] {
        let mut total = c.unmaps.by_verdict.get(verdict).unwrap().unwrap();
        let folios = scaled(total.folios);
        let all = c.unmaps.total.as_mut().unwrap();
        *all = *all + folios - total.folios;
        total.folios = folios;
        c.unmaps.by_verdict.set(verdict, Some(total));
    }
    for victim in c.victims.iter_mut().flatten() {
        victim.mappings = scaled(victim.mappings);
    }
    c
}

fn row<'a>(diff: &'a Diff, name: &str) -> &'a pinscope::model::compare::Comparison {
    let all = diff.rates.iter().chain(&diff.percentiles);
    let mut all = all.chain(&diff.victims);
    all.find(|r| r.name.contains(name))
        .unwrap_or_else(|| panic!("no row {name}"))
}

#[test]
fn with_itself_nothing_changes() {
    let c = capture();
    let d = diff(&c, &c);
    assert!(d.unlike.is_empty() && d.findings_new.is_empty() && d.findings_gone.is_empty());
    for r in d.rates.iter().chain(&d.percentiles).chain(&d.victims) {
        assert_eq!(r.change, Change::Same, "{r:?}");
        assert_eq!(r.a, r.b);
    }
    assert!(d.answer.contains("have not changed"), "{}", d.answer);
}

#[test]
fn rates_are_counts_over_the_window_and_halving_shows() {
    let c = capture();
    let half = times(&c, 0.5);
    let d = diff(&c, &half);
    let futile = row(&d, "futile unmaps");
    let expected = |c: &Capture| {
        let of = |v| c.unmaps.by_verdict.get(v).unwrap().unwrap().folios;
        (of(Verdict::FutilePinned) + of(Verdict::FutileReferenced)) as f64 / c.window.seconds
    };
    assert!((futile.a.unwrap().value - expected(&c)).abs() < 1e-9);
    assert!((futile.b.unwrap().value - expected(&half)).abs() < 1e-9);
    assert_eq!(futile.change, Change::Fell);
    assert_eq!(row(&d, "gpu-trainer").change, Change::Fell);
    assert_eq!(row(&d, "freed").change, Change::Same);
    assert!(d.answer.starts_with("Futile unmaps fell"), "{}", d.answer);
    assert!(d.answer.contains("-50 %"), "{}", d.answer);
    // In the other direction it rose.
    assert_eq!(row(&diff(&half, &c), "futile unmaps").change, Change::Rose);
}

#[test]
fn a_longer_window_alone_changes_no_rate() {
    let c = capture();
    let mut longer = times(&c, 2.0);
    longer.window.seconds *= 2.0;
    let futile = diff(&c, &longer);
    assert_eq!(row(&futile, "futile unmaps").change, Change::Same);
}

#[test]
fn what_chance_gives_is_no_change() {
    let c = capture();
    assert_eq!(
        row(&diff(&c, &times(&c, 1.005)), "futile unmaps").change,
        Change::Same
    );
}

#[test]
fn absent_is_not_zero() {
    let c = capture();
    let mut blind = c.clone();
    blind.victims = None;
    blind.unmaps.by_verdict.set(Verdict::FutilePinned, None);
    blind.histograms.unmap_seconds = None;
    let d = diff(&c, &blind);
    for name in [
        "futile unmaps",
        "futile_pinned",
        "gpu-trainer",
        "futile unmap, p50",
    ] {
        let r = row(&d, name);
        assert_eq!((r.b, r.change), (None, Change::Unknown), "{name}");
    }
    assert!(d.answer.contains("No answer"), "{}", d.answer);
    let text = text::diff::text(&d, &Style::default());
    assert!(text.contains("not in both"), "{text}");
}

#[test]
fn unlike_conditions_are_listed() {
    let c = capture();
    let mut other = c.clone();
    other.host.kernel = "7.2.13".to_owned();
    other.host.cpus += 1;
    other.lost.keys = 3;
    other.hooks.retain(|h| h.name != "remove_mapping");
    let said = diff(&c, &other).unlike.join("\n");
    for word in [
        "7.2.13",
        "CPU",
        "remove_mapping was active in A only",
        "B lost 3 counts",
    ] {
        assert!(said.contains(word), "{word} not in {said}");
    }
}

#[test]
fn the_text_fits_and_needs_neither_colour_nor_unicode() {
    let c = capture();
    let d = diff(&c, &times(&c, 0.1));
    for style in [
        Style::default(),
        Style {
            ascii: true,
            ..Style::default()
        },
    ] {
        let text = text::diff::text(&d, &style);
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        assert!(!text.contains('\x1b'));
        assert!(!style.ascii || text.is_ascii(), "{text}");
    }
    insta::assert_snapshot!("diff", text::diff::text(&d, &Style::default()));
}

fn pinscope(args: &[&str]) -> Output {
    Command::cargo_bin("pinscope")
        .unwrap()
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn recordings_and_captures_compare_on_the_command_line() {
    let out = pinscope(&["diff", RECORDING, CAPTURE]);
    assert!(out.status.success(), "{out:?}");
    assert!(String::from_utf8(out.stdout).unwrap().contains("borrows"));
    let out = pinscope(&["diff", RECORDING, RECORDING, "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["schema"], "pinscope.diff/1");
    assert_eq!(json["a"]["looks"], 5);
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../schema/pinscope.diff-1.schema.json")).unwrap();
    jsonschema::validate(&schema, &json).unwrap();
    for row in json["rates"].as_array().unwrap() {
        assert_eq!(row["change"], "same", "{row}");
    }
}

#[test]
fn bad_files_are_reported() {
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    for (args, code, word) in [
        (vec!["diff", CAPTURE, "/nonexistent"], 1, "/nonexistent"),
        (
            vec!["diff", bad.to_str().unwrap(), CAPTURE],
            1,
            "Cargo.toml",
        ),
        (vec!["diff", "-", "-"], 1, "stdin"),
        (vec!["diff", CAPTURE], 2, "<B>"),
    ] {
        let out = pinscope(&args);
        assert_eq!(out.status.code(), Some(code), "{args:?}");
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(said.contains(word), "{said}");
        assert!(out.stdout.is_empty());
    }
}
