//! The command line without probes: bad arguments, bad files, and the messages about them.

// clippy.toml allows these in tests, but doesn't count the helpers beside them as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path, process::Output};

use assert_cmd::Command;
use proptest::prelude::*;

fn pinscope(args: &[&str]) -> Output {
    Command::cargo_bin("pinscope")
        .unwrap()
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bad_arguments_are_usage_errors() {
    for args in [
        &["nosuch"][..],
        &["capture", "-d", "soon"],
        &["capture", "-d", "5"],
        &["capture", "-d", "0s"],
        &["capture", "-i", "1ns"],
        &["capture", "--format", "xml"],
        &["capture", "--events", "-1"],
        &["capture", "--hook", "nosuch=off"],
        &["capture", "--hook", "try_to_unmap"],
        &["capture", "--attach", "uprobe"],
        &["capture", "surplus"],
        &["doctor", "--format", "ndjson"],
        &["selftest", "--pages", "0"],
        &["report"],
        &["completions", "tcsh9"],
    ] {
        let output = pinscope(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{args:?} wrote to stdout");
        assert!(!output.stderr.is_empty(), "{args:?} said nothing");
    }
}

#[test]
fn an_unknown_hook_is_refused_with_a_list_of_hooks() {
    let output = pinscope(&["capture", "--hook", "nosuch=off"]);
    assert!(
        said(&output).contains("remove_mapping"),
        "{}",
        said(&output)
    );
}

#[test]
fn unwritable_output_is_refused_before_the_capture() {
    let output = pinscope(&["capture", "-d", "1s", "-o", "/nonexistent/x.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("cannot write /nonexistent/x.json"),
        "{}",
        said(&output)
    );
}

/// Either this machine can run pinscope, or it gets a plain sentence and 77, never a stack of errors.
#[test]
fn a_machine_that_cannot_run_pinscope_gets_a_plain_explanation() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.json");
    let output = pinscope(&[
        "capture",
        "-d",
        "50ms",
        "--format",
        "json",
        "-o",
        file.to_str().unwrap(),
    ]);
    match output.status.code() {
        Some(0) => assert!(file.exists()),
        Some(77) => {
            let text = said(&output);
            assert!(
                text.starts_with("pinscope: ") && text.contains("remedy: "),
                "{text}"
            );
            assert!(text.lines().count() <= 3, "{text}");
            assert_eq!(
                fs::read_dir(dir.path()).unwrap().count(),
                0,
                "left a file behind"
            );
        }
        other => panic!("{other:?}: {}", said(&output)),
    }
}

#[test]
fn doctor_says_whether_it_can_run_in_both_formats() {
    let text = pinscope(&["doctor"]);
    let json = pinscope(&["doctor", "--format", "json"]);
    assert_eq!(text.status.code(), json.status.code());
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["schema"], "pinscope.doctor/1");
    assert_eq!(
        report["can_run"].as_bool(),
        Some(json.status.code() == Some(0))
    );
    assert!([Some(0), Some(77)].contains(&json.status.code()));
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../schema/pinscope.doctor-1.schema.json")).unwrap();
    jsonschema::validate(&schema, &report).unwrap();
    for line in String::from_utf8(text.stdout).unwrap().lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn man_page_and_completions_name_every_command() {
    let man = String::from_utf8(pinscope(&["man"]).stdout).unwrap();
    let bash = String::from_utf8(pinscope(&["completions", "bash"]).stdout).unwrap();
    for command in ["capture", "doctor", "selftest", "report"] {
        assert!(man.contains(command), "the man page lacks {command}");
        assert!(bash.contains(command), "the completions lack {command}");
    }
    assert!(
        !man.contains("provoke"),
        "the man page shows a hidden command"
    );
}

fn report_of(bytes: &[u8]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("capture.json");
    fs::write(&file, bytes).unwrap();
    pinscope(&["report", file.to_str().unwrap()])
}

#[test]
fn bad_files_have_different_errors() {
    for (bytes, word) in [
        (&b""[..], "cannot read"),
        (b"{}", "cannot read"),
        (b"not json", "cannot read"),
        (b"{\"schema\": \"pinscope.capture/99\"}", "pinscope.capture"),
        (b"{\"schema\": \"pinscope.capture/1\"}", "cannot read"),
        (b"\xff\xfe\x00", "cannot read"),
        (b"[1, 2", "cannot read"),
    ] {
        let output = report_of(bytes);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(word), "{bytes:?}: {text}");
        assert!(output.stdout.is_empty());
    }
    for path in ["/nonexistent.json", "/"] {
        let output = pinscope(&["report", path]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(path), "{}", said(&output));
    }
}

/// A capture made in a guest. It must stay readable as long as its schema is supported.
const CAPTURE: &str = "tests/data/capture.json";

#[test]
fn a_capture_is_read_again() {
    let text = pinscope(&["report", CAPTURE]);
    assert_eq!(text.status.code(), Some(0), "{}", said(&text));
    let json = pinscope(&["report", "--format", "json", CAPTURE]);
    let again: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let first: serde_json::Value =
        serde_json::from_slice(&fs::read(Path::new(CAPTURE)).unwrap()).unwrap();
    assert_eq!(again["unmaps"], first["unmaps"]);
    assert_eq!(again["groups"], first["groups"]);
    assert_eq!(again["histograms"], first["histograms"]);
}

/// The warning on stderr is gone once a report is passed on, so the report itself must say it.
#[test]
fn a_cut_off_recording_says_so_in_every_report() {
    let dir = tempfile::tempdir().unwrap();
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/demo.pscope");
    let whole = whole.to_str().unwrap();
    let bytes = fs::read(whole).unwrap();
    let cut = dir.path().join("cut.pscope");
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let cut = cut.to_str().unwrap();
    let out = |args: &[&str]| {
        let output = pinscope(args);
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        // Text is wrapped.
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let sentence = "The recording is incomplete: it is read up to sample ";
    for format in ["text", "html", "json"] {
        let report = |file| out(&["report", "--format", format, file]);
        assert!(report(cut).contains(sentence), "{format}");
        assert!(!report(whole).contains("incomplete"), "{format}");
    }
    // A report made from the JSON says so too.
    let json = pinscope(&["report", "--format", "json", cut]).stdout;
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let reason = value["incomplete"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("it is read up to sample "), "{reason}");
    let kept = dir.path().join("cut.json");
    fs::write(&kept, &json).unwrap();
    let kept = kept.to_str().unwrap();
    assert!(out(&["report", kept]).contains(sentence));
    let diff = out(&["diff", whole, kept]);
    assert!(
        diff.contains("The recording of B is incomplete: "),
        "{diff}"
    );
    assert!(!diff.contains("of A is incomplete"), "{diff}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A capture that is cut off or damaged anywhere is read or refused, without a panic.
    #[test]
    fn damaged_captures_are_read_or_refused(
        cut in 0usize..40_000, at in 0usize..40_000, byte in any::<u8>(), truncate in any::<bool>()
    ) {
        let mut bytes = fs::read(CAPTURE).unwrap();
        let length = bytes.len();
        if truncate {
            bytes.truncate(cut % length);
        } else {
            bytes[at % length] = byte;
        }
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(capture) = pinscope::render::json::read(&text)
        {
            let _ = pinscope::render::text::report::report(&capture, &pinscope::render::text::Style::default());
        }
    }
}

/// README shows the beginning of the report of the demo recording.
#[test]
fn the_report_in_readme_is_that_of_the_demo_recording() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let recording = root.join("docs/demo.pscope");
    let output = pinscope(&["report", recording.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let report = String::from_utf8(output.stdout).unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```\npinscope capture · ").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    assert!(report.starts_with(&format!("pinscope capture · {shown}")));
}
