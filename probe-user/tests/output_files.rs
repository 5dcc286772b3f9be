//! Files that commands write: their permissions, and nothing left behind when writing fails.

// A test reports a failure by panicking.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

const CAPTURE: &str = "tests/data/capture.json";

/// Runs `before`, then a report of the capture into `file`, in one shell.
fn report(before: &str, file: &Path) -> Output {
    Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{before}; exec \"$PINSCOPE\" report --format json -o \"$FILE\" \"$CAPTURE\""
        ))
        .env("PINSCOPE", env!("CARGO_BIN_EXE_pinscope"))
        .env("FILE", file)
        .env("CAPTURE", CAPTURE)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_umask_applies_as_to_any_new_file() {
    let dir = tempfile::tempdir().unwrap();
    for (umask, mode) in [
        ("022", 0o644),
        ("027", 0o640),
        ("077", 0o600),
        ("000", 0o666),
    ] {
        let file = dir.path().join(umask);
        let output = report(&format!("umask {umask}"), &file);
        assert!(output.status.success(), "{}", said(&output));
        let found = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "umask {umask}: {found:o}");
    }
}

/// The limit stands in for a full disk: a write fails with "File too large".
#[test]
fn a_failed_write_leaves_nothing_behind_and_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    let output = report("ulimit -f 1", &file);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "pinscope: cannot write {}: File too large (os error 27)\n",
        file.display()
    );
    assert_eq!(said(&output), expected);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_failed_write_leaves_the_earlier_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    fs::write(&file, "earlier").unwrap();
    let output = report("trap '' XFSZ; ulimit -f 1", &file);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read(&file).unwrap(), b"earlier");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_full_device_and_an_unwritable_directory_are_reported() {
    for (path, cause) in [
        ("/dev/full", "No space left on device (os error 28)"),
        ("/proc/a.json", "No such file or directory (os error 2)"),
    ] {
        let output = report("true", Path::new(path));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            said(&output),
            format!("pinscope: cannot write {path}: {cause}\n")
        );
    }
}

#[test]
fn a_full_stdout_is_reported() {
    let output = report("exec >/dev/full", Path::new("-"));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output),
        "pinscope: cannot write to stdout: No space left on device (os error 28)\n"
    );
}
