//! The dashboard in a real terminal on the live kernel, under load; and recordings.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use pinscope::{model::Capture, provoke::Truth};
use probe_ebpf::Verdict;

use crate::{
    support::{Check, capture, run, scratch, start, total},
    test, test_unless,
};

/// The longest wait for a screen: generous, for emulation.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    let none = tmux(&["-V"])
        .is_err()
        .then_some("this guest was started without tmux");
    vec![
        test_unless(none, "live_in_a_terminal_under_load", live),
        test("live_or_recorded_the_report_is_the_same", recording),
    ]
}

fn tmux(arguments: &[&str]) -> Result<Output> {
    let out = Command::new("tmux")
        .args(["-u", "-S", "/tmp/live-test-socket"])
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .context("starting tmux")?;
    ensure!(
        out.status.success(),
        "tmux {arguments:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(out)
}

/// A terminal with a dashboard. Dropping it ends its tmux server.
struct Terminal;

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tmux(&["kill-server"]);
    }
}

impl Terminal {
    fn start(line: &str) -> Result<Self> {
        tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "-c",
            "/tmp",
            "sh",
        ])?;
        let terminal = Self;
        terminal.keys(&["-l", line])?;
        terminal.keys(&["Enter"])?;
        Ok(terminal)
    }

    fn keys(&self, keys: &[&str]) -> Result<()> {
        tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    fn screen(&self) -> Result<String> {
        Ok(String::from_utf8(tmux(&["capture-pane", "-p"])?.stdout)?)
    }

    /// Waits until the screen shows all these words.
    fn until(&self, words: &[&str]) -> Result<String> {
        let begun = Instant::now();
        loop {
            let screen = self.screen()?;
            if words.iter().all(|w| screen.contains(w)) {
                return Ok(screen);
            }
            ensure!(begun.elapsed() < LIMIT, "no {words:?} in:\n{screen}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Does the same, and prints the screen for whoever started the guest.
    fn keep(&self, name: &str, words: &[&str]) -> Result<String> {
        let screen = self.until(words)?;
        ensure!(
            screen.lines().all(|l| l.chars().count() <= 80),
            "wider than the terminal:\n{screen}"
        );
        for line in screen.lines() {
            println!("screen {name}|{line}");
        }
        Ok(screen)
    }
}

fn live() -> Result<()> {
    let terminal = Terminal::start("pinscope live -i 500ms; echo code $?")?;
    terminal.until(&["hooks", "overview", "live"])?;
    let words = |comm: &'static str, scenario: &'static str| {
        [
            "workload", "run", scenario, "--pages", "256", "--rounds", "40", "--json", "--comm",
            comm,
        ]
    };
    let pinned = start(&words("gpu-trainer", "memfd-pin"))?;
    terminal.keep("overview", &["futile_pinned", "Reclaim is", "notified/s"])?;
    terminal.keys(&["2"])?;
    terminal.keep("victims", &["gpu-trainer"])?;
    terminal.keys(&["Enter"])?;
    terminal.keep("victim", &["gpu-trainer", "mappings"])?;
    terminal.keys(&["Escape"])?;
    let referenced = start(&words("pipe-relay", "memfd-get"))?;
    let truths = [pinned.wait()?, referenced.wait()?];
    let truths: Vec<Truth> = truths.iter().map(|r| r.json()).collect::<Result<_>>()?;
    for (key, name, word) in [
        ("3", "reclaimers", "madvise"),
        ("4", "memory", "shmem"),
        ("5", "subscribers", "kvm_mmu_notifier"),
        ("6", "histograms", "p99"),
        ("7", "events", "pipe-relay"),
        ("8", "hooks", "try_to_unmap"),
        ("9", "findings", "futile-pinned-shmem"),
    ] {
        terminal.keys(&[key])?;
        terminal.keep(name, &[word])?;
    }
    terminal.keys(&["?"])?;
    terminal.keep("help", &["this list"])?;
    terminal.keys(&["Escape"])?;
    // The screen's capture is written, and agrees with the truth of the workloads.
    terminal.keys(&["1", "w"])?;
    let screen = terminal.until(&["written to pinscope-"])?;
    let name = screen
        .split_once("written to ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .context("no name")?;
    let path = format!("/tmp/{name}");
    let capture = pinscope::render::json::read(&std::fs::read_to_string(&path)?)?;
    let _ = std::fs::remove_file(&path);
    agrees(&capture, &truths)?;
    terminal.keys(&["q"])?;
    let after = terminal.until(&["code 0"])?;
    ensure!(
        !after.contains("overview"),
        "the dashboard is still on the screen:\n{after}"
    );
    Ok(())
}

/// Checks that both victims have all their unmaps.
fn agrees(capture: &Capture, truths: &[Truth]) -> Result<()> {
    let mut check = Check::default();
    for (truth, verdict) in truths
        .iter()
        .zip([Verdict::FutilePinned, Verdict::FutileReferenced])
    {
        check.same(
            verdict.name(),
            total(capture, verdict),
            Some(truth.unmaps_expected),
        );
    }
    check.done(&serde_json::to_value(capture)?)
}

/// The report of a recording is the capture that was printed, number by number.
fn recording() -> Result<()> {
    let file = scratch("a.pscope");
    let name = file.to_str().context("no UTF-8")?;
    let captured = capture(
        &["--record", name, "-i", "200ms", "--events", "50"],
        &[
            "workload",
            "run",
            "memfd-half-pin",
            "--pages",
            "256",
            "--rounds",
            "8",
        ],
    )?;
    let report = run(&["pinscope", "report", name, "--format", "json"])?;
    report.expect_code(0)?;
    ensure!(report.stderr.is_empty(), "{}", report.said());
    let again: serde_json::Value = report.json()?;
    let mut check = Check::default();
    for (key, value) in captured.json.as_object().context("no object")? {
        check.same(key, again.get(key), Some(value));
    }
    check.done(&captured.json)?;
    let html = run(&["pinscope", "report", name, "--format", "html"])?;
    html.expect_code(0)?;
    ensure!(html.stdout.contains("<svg"), "no chart in the page");
    let diff = run(&["pinscope", "diff", name, name])?;
    diff.expect_code(0)?;
    let _ = std::fs::remove_file(&file);
    Ok(())
}
