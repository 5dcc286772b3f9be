//! What programs read must not change by accident: the JSON of recordings, byte for byte, and
//! their page of metrics, as an earlier version wrote them. Only prose may differ.

// clippy.toml allows these in tests, and takes the helpers beside them for something else.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use assert_cmd::Command;
use pinscope::{
    model::ranking::{Top, by_cgroup},
    recording::{Frames, Recording},
    render::metrics::{Format, Input, ProcessStats, encode, families},
    snapshot::Snapshot,
};

/// Keys that hold prose, one line each in indented JSON.
const PROSE: [&str; 5] = ["text", "advice", "what", "why", "reason"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn without_prose(json: &str) -> String {
    let is_prose = |line: &&str| {
        let key = line.trim_start().strip_prefix('"');
        key.is_some_and(|l| PROSE.iter().any(|p| l.starts_with(&format!("{p}\": "))))
    };
    json.lines()
        .filter(|line| !is_prose(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

fn json_of(file: &Path) -> String {
    let out = Command::cargo_bin("pinscope")
        .unwrap()
        .arg("report")
        .arg(file)
        .args(["--format", "json"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn recordings_give_the_same_json_as_ever() {
    for (recording, golden) in [
        ("../docs/demo.pscope", "tests/data/golden/demo.json"),
        ("tests/data/v1.pscope", "tests/data/golden/v1.json"),
    ] {
        let now = without_prose(&json_of(&path(recording)));
        let golden = std::fs::read_to_string(path(golden)).unwrap();
        for (i, (now, then)) in now.lines().zip(golden.lines()).enumerate() {
            assert_eq!(now, then, "{recording}, line {}", i + 1);
        }
        assert_eq!(now, golden, "{recording}");
    }
}

/// A capture that is read and written again is the same file, whatever words it has.
#[test]
fn captures_survive_a_round_trip() {
    let file = path("tests/data/capture.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (known, newer) in [
        ("", ""),
        (r#""proactive""#, r#""compaction""#),
        (r#""shmem""#, r#""device_private""#),
        (r#""kept""#, r#""requeued""#),
    ] {
        let text = text.replace(known, newer);
        let file = dir.path().join("capture.json");
        std::fs::write(&file, &text).unwrap();
        assert!(text.contains(newer), "{newer} is not in the capture");
        let again = json_of(&file);
        let sorted = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(sorted(&again), sorted(&text), "{newer}");
    }
    // Without a word of a newer version not even the order of keys changes.
    assert_eq!(json_of(&file), text);
}

/// The page in Prometheus text, without help and without what differs between builds and runs.
fn page(snapshot: &Snapshot, top: &Top) -> String {
    let families = families(&Input {
        snapshot,
        cgroups: Some(top),
        programs: &[],
        process: ProcessStats::default(),
        events: &[],
        attached: SystemTime::UNIX_EPOCH,
        dropped: 0,
        reload: None,
    });
    let text = encode(&Arc::new(families), Format::Text).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("# HELP ") && !line.starts_with("pinscope_build_info{"))
        .fold(String::new(), |page, line| page + line + "\n")
}

/// Leaves out the metrics that the golden page does not know: a new metric breaks nothing.
fn known(page: &str, golden: &str) -> String {
    let mut in_golden = true;
    page.lines()
        .filter(|line| {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap_or_default();
                in_golden = golden.contains(&format!("# TYPE {name} "));
            }
            in_golden
        })
        .fold(String::new(), |page, line| page + line + "\n")
}

/// Names, labels, values and order of all series.
#[test]
fn recordings_give_the_same_metrics_as_ever() {
    let recording = Recording::open(&path("../docs/demo.pscope")).unwrap();
    let last = recording.count() - 1;
    // The ranking of cgroups depends on all samples before.
    let mut top = Top::new(5);
    for index in 0..=last {
        let snapshot = recording.frame(index).unwrap().snapshot;
        top.update(&by_cgroup(&snapshot), |_| false);
        let golden = match index {
            0 => "tests/data/golden/metrics-first.txt",
            _ if index == last => "tests/data/golden/metrics-last.txt",
            _ => continue,
        };
        let golden = std::fs::read_to_string(path(golden)).unwrap();
        let now = known(&page(&snapshot, &top), &golden);
        for (i, (now, then)) in now.lines().zip(golden.lines()).enumerate() {
            assert_eq!(now, then, "sample {index}, line {}", i + 1);
        }
        assert_eq!(now, golden, "sample {index}");
    }
}
