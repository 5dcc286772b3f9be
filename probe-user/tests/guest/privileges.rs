//! Capabilities: few are needed, and those are dropped.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use pinscope::{model::DoctorReport, provoke::Truth};

use crate::{
    scenarios::counted,
    support::{self, Captured, Check, run, start, workload},
    test,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for attach in ["auto", "kprobe", "fentry"] {
        trials.push(test(
            format!("three_capabilities_suffice_for_nobody_by_{attach}"),
            move || with_three(attach),
        ));
    }
    trials.push(test("root_lets_go_of_its_capabilities_too", root));
    trials.push(test(
        "without_capabilities_it_names_them_and_ends_with_77",
        none,
    ));
    trials.push(test(
        "without_cap_perfmon_it_names_it_and_ends_with_77",
        no_perfmon,
    ));
    trials.push(test("doctor_without_capabilities_says_what_to_do", doctor));
    trials
}

const CAPTURE: [&str; 8] = [
    "pinscope",
    "capture",
    "--format",
    "ndjson",
    "--duration",
    "1m",
    "--interval",
    "200ms",
];

/// Returns the command line of this program that becomes nobody, with these capabilities alone, and
/// then CMD.
fn nobody(capabilities: &str, cmd: &[&str]) -> Result<Vec<String>> {
    let program = std::env::current_exe()?.display().to_string();
    let mut words = vec![program];
    words.extend(["--helper", "unprivileged", capabilities].map(str::to_owned));
    words.extend(cmd.iter().map(|w| (*w).to_owned()));
    Ok(words)
}

/// Reads a capability set from /proc/PID/status.
fn capabilities(pid: u32, set: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix(set))
        .context("no such set")?;
    Ok(u64::from_str_radix(
        line.trim_start_matches(':').trim(),
        16,
    )?)
}

/// Captures the workload, which runs as root at the same time. No capability but CAP_BPF may be
/// left.
fn beside(words: &[String]) -> Result<(Captured, Truth)> {
    const CAP_BPF: u64 = 1 << 39;
    let mut running = start(words)?;
    running.attached()?;
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        let left = capabilities(running.child.id(), set)?;
        ensure!(left & !CAP_BPF == 0, "{set} after the attach: {left:#x}");
    }
    let pid = running.child.id();
    ensure!(
        capabilities(pid, "NoNewPrivs")? == 1,
        "an execve could regain capabilities"
    );
    // Only CAP_SETPCAP can empty the bounding set.
    if words.first().is_some_and(|program| program == "pinscope") {
        let left = capabilities(pid, "CapBnd")?;
        ensure!(left == 0, "the bounding set after the attach: {left:#x}");
    }
    let size = ["--pages", "64", "--rounds", "3"];
    let ran = workload(&[&["run", "memfd-half-pin", "--json"], &size[..]].concat())?;
    ran.expect_code(0)?;
    running.signal(Signal::SIGINT)?;
    let whole = running.wait()?;
    whole.expect_code(0)?;
    let text = whole.stdout.clone();
    Ok((support::read(&text, whole)?, ran.json()?))
}

fn exact(words: &[String]) -> Result<()> {
    let (captured, truth) = beside(words)?;
    let mut check = Check::default();
    counted(&captured.capture, &truth, &mut check);
    check.same(
        "unmaps",
        captured.capture.unmaps.total,
        Some(truth.unmaps_expected),
    );
    check.done(&captured.json)
}

/// A change of kernel.perf_event_paranoid, undone on drop.
struct Paranoid(String);

const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

impl Paranoid {
    /// Debian's level 3 reserves perf_event_open, and so kprobes, for CAP_SYS_ADMIN.
    fn at_most_2() -> Result<Self> {
        let before = std::fs::read_to_string(PARANOID)?;
        std::fs::write(PARANOID, "2")?;
        Ok(Self(before))
    }
}

impl Drop for Paranoid {
    fn drop(&mut self) {
        let _ = std::fs::write(PARANOID, &self.0);
    }
}

fn with_three(attach: &str) -> Result<()> {
    let _paranoid = if attach == "kprobe" {
        Some(Paranoid::at_most_2()?)
    } else {
        None
    };
    let cmd = [&CAPTURE[..], &["--attach", attach]].concat();
    exact(&nobody("cap_bpf,cap_perfmon,cap_syslog", &cmd)?)
}

fn root() -> Result<()> {
    exact(&CAPTURE.map(str::to_owned))?;
    // CMD has all that this process has.
    let words = ["pinscope", "capture", "-o", "/dev/null", "--"];
    let ran = run(&[&words[..], &["cat", "/proc/self/status"]].concat())?;
    ran.expect_code(0)?;
    let own = std::fs::read_to_string("/proc/self/status")?;
    for set in [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
    ] {
        let of = |status: &str| {
            let mut lines = status.lines();
            lines.find(|l| l.starts_with(set)).map(str::to_owned)
        };
        let (of_cmd, own) = (of(&ran.stdout), of(&own));
        ensure!(
            of_cmd.is_some() && of_cmd == own,
            "{of_cmd:?}, and here {own:?}"
        );
    }
    Ok(())
}

fn none() -> Result<()> {
    run(&nobody("none", &CAPTURE)?)?.expect_refused(&["CAP_BPF", "CAP_PERFMON"])
}

fn no_perfmon() -> Result<()> {
    run(&nobody("cap_bpf,cap_syslog", &CAPTURE)?)?.expect_refused(&["CAP_PERFMON"])
}

fn doctor() -> Result<()> {
    let ran = run(&nobody(
        "none",
        &["pinscope", "doctor", "--format", "json"],
    )?)?;
    ran.expect_code(77)?;
    let report: DoctorReport = ran.json()?;
    ensure!(!report.can_run, "{}", ran.said());
    for name in ["CAP_BPF", "CAP_PERFMON"] {
        let row = report
            .checks
            .iter()
            .find(|c| c.name == name)
            .context(name)?;
        ensure!(!row.ok && row.remedy.is_some(), "{row:?}");
    }
    Ok(())
}
