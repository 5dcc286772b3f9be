//! CMD never runs on unwatched, the window is what was counted, and the demo agrees with itself.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::{
    support::{self, run, scratch, start, within_5_s},
    test,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("cmd_ends_with_the_reader_of_the_output", reader_gone),
        test("cmd_ends_when_the_disk_is_full", disk_full),
        test("cmd_ends_with_a_killed_pinscope", killed),
        test("cmd_ends_though_another_user_runs_it", another_user),
        test("the_window_is_the_duration", window),
        test("the_demo_counts_what_the_capture_counts", demo),
    ]
}

/// Whether any process has this word in its command line.
fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|p| std::fs::read(p.path().join("cmdline")).ok())
        .any(|cmdline| String::from_utf8_lossy(&cmdline).contains(word))
}

/// Starts a capture of a shell with a child. Both have the word in their command lines.
fn capture(word: &str, stdout: Stdio) -> Result<std::process::Child> {
    Command::new("pinscope")
        .args(["capture", "--format", "ndjson", "--interval", "100ms", "--"])
        .args(["sh", "-c", &format!("sleep {word} & sleep {word}; true")])
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start pinscope")
}

fn said(child: &mut std::process::Child) -> Result<String> {
    let mut text = String::new();
    let mut stderr = child.stderr.take().context("no stderr")?;
    stderr.read_to_string(&mut text)?;
    Ok(text)
}

fn reader_gone() -> Result<()> {
    let word = "3301";
    let mut child = capture(word, Stdio::piped())?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    ensure!(line.contains("\"start\""), "{line}");
    ensure!(runs(word), "CMD does not run");
    drop(lines);
    let said = said(&mut child)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(141), "{status}: {said}");
    ensure!(said.contains("CMD was ended"), "{said}");
    ensure!(!runs(word), "CMD runs on");
    Ok(())
}

fn disk_full() -> Result<()> {
    let word = "3302";
    let full = File::options().write(true).open("/dev/full")?;
    let mut child = capture(word, full.into())?;
    let said = said(&mut child)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(1), "{status}: {said}");
    for words in ["CMD was ended", "No space left on device"] {
        ensure!(said.contains(words), "{said}");
    }
    ensure!(!runs(word), "CMD runs on");

    // Neither a report nor a recording leaves anything behind on a disk that has no room for it.
    let disk = scratch("full-disk");
    std::fs::create_dir(&disk)?;
    let name = disk.to_str().context("no UTF-8")?;
    run(&["mount", "-t", "tmpfs", "-o", "size=4k", "none", name])?.expect_code(0)?;
    let filled = std::fs::write(disk.join("filler"), [1; 4096]);
    let record = format!("{name}/a.pscope");
    let output = format!("{name}/a.json");
    let recorded = run(&["pinscope", "capture", "-d", "100ms", "--record", &record]);
    let written = run(&["pinscope", "capture", "-d", "100ms", "-o", &output]);
    let left: Vec<_> = std::fs::read_dir(&disk)?
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    run(&["umount", name])?.expect_code(0)?;
    std::fs::remove_dir(&disk)?;
    filled?;
    for ran in [recorded?, written?] {
        ran.expect_code(1)?;
        ensure!(ran.stderr.contains("No space left"), "{}", ran.said());
    }
    ensure!(left == ["filler"], "left behind: {left:?}");
    Ok(())
}

fn killed() -> Result<()> {
    let word = "3303";
    let words = ["pinscope", "-v", "capture", "--", "sleep", word];
    let mut running = start(&words)?;
    running.attached()?;
    ensure!(runs(word), "CMD does not run");
    running.signal(Signal::SIGKILL)?;
    running.wait()?;
    ensure!(within_5_s(|| !runs(word)), "CMD runs on");
    Ok(())
}

fn another_user() -> Result<()> {
    let word = "3304";
    let program = std::env::current_exe()?.display().to_string();
    let words = ["pinscope", "capture", "-d", "500ms", "--", &program];
    let nobody = ["--helper", "unprivileged", "none", "sleep", word];
    let ran = run(&[&words[..], &nobody].concat())?;
    ran.expect_code(124)?;
    ensure!(!runs(word), "CMD runs on");
    Ok(())
}

/// A busy machine may end one capture late, but not each of three.
fn window() -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let ran = run(&["pinscope", "capture", "-d", "500ms", "--format", "json"])?;
        ran.expect_code(0)?;
        let text = ran.stdout.clone();
        seconds.push(support::read(&text, ran)?.capture.window.seconds);
        ensure!(
            seconds.iter().all(|s| *s >= 0.5),
            "windows of {seconds:?} s"
        );
        if seconds.iter().any(|s| *s < 1.0) {
            return Ok(());
        }
    }
    anyhow::bail!("windows of {seconds:?} s for a duration of 0.5 s")
}

fn demo() -> Result<()> {
    let ran = run(&["env", "TMPDIR=/mnt", "workload", "show", "--seconds", "2"])?;
    ran.expect_code(0)?;
    ensure!(ran.stderr.contains("both counts agree"), "{}", ran.said());
    Ok(())
}
