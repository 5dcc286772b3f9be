//! The command line: exit statuses, where output goes, and what is left behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use pinscope::{
    model::{DoctorReport, Outcome, SelftestRow},
    provoke::{SCENARIOS, Truth},
    snapshot::{Attach, HookState},
};
use probe_ebpf::Hook;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    scenarios::counted,
    support::{
        self, Captured, Check, capture_of_any, lines_with, meets, run, scratch, start, within_5_s,
    },
    test,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        test("the_exit_status_is_that_of_cmd", || {
            ends_like("exit", "3", 3)
        }),
        test("a_signal_of_cmd_is_128_and_its_number", || {
            ends_like("kill", "SIGTERM", 143)
        }),
        test("a_cmd_that_is_not_there_is_127", no_cmd),
        test("the_duration_ends_cmd_with_124", duration),
        test("ctrl_c_ends_a_capture_and_prints_it", ctrl_c),
        test("ctrl_c_ends_cmd_and_prints_the_capture", ctrl_c_with_cmd),
        test(
            "the_report_is_on_stdout_and_cmd_on_stderr",
            stdout_is_the_reports,
        ),
        test("with_a_file_the_stdout_of_cmd_is_untouched", stdout_is_cmds),
        test("nonsense_is_a_usage_error", usage),
        test("text_names_the_victim", text),
        test(
            "every_line_of_ndjson_is_json_and_the_last_is_the_report",
            ndjson,
        ),
        test("report_reads_a_capture_back_without_loss", report),
        test("doctor_finds_this_machine_able", doctor),
        test("selftest_passes_every_scenario", selftest),
    ];
    for attach in ["kprobe", "fentry"] {
        trials.push(test(
            format!("kill_9_leaves_nothing_attached_by_{attach}"),
            move || kill_9(attach),
        ));
    }
    trials
}

fn ends_like(command: &str, how: &str, code: i32) -> Result<()> {
    capture_of_any(&[], &["workload", command, how])?
        .ran
        .expect_code(code)
}

/// Returns whether no process with this command line is left.
fn nobody_runs(words: &[&str]) -> bool {
    let line = format!("{}\0", words.join("\0"));
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|p| std::fs::read(p.path().join("cmdline")).ok())
        .all(|cmdline| cmdline != line.as_bytes())
}

fn no_cmd() -> Result<()> {
    let file = scratch("nothing.json");
    let name = file.to_str().context("no UTF-8")?;
    let ran = run(&["pinscope", "capture", "-o", name, "--", "/no/such/program"])?;
    ran.expect_code(127)?;
    ran.expect_one_plain_sentence()?;
    ensure!(ran.stderr.contains("/no/such/program"), "{}", ran.said());
    ensure!(!file.exists(), "a capture of nothing was written");
    Ok(())
}

fn duration() -> Result<()> {
    let sleep = ["sleep", "31"];
    let begun = Instant::now();
    let captured = capture_of_any(&["--duration", "500ms"], &sleep)?;
    captured.ran.expect_code(124)?;
    let took = begun.elapsed();
    ensure!(took < Duration::from_secs(20), "it took {took:?}");
    let seconds = captured.capture.window.seconds;
    ensure!((0.5..10.0).contains(&seconds), "a window of {seconds} s");
    ensure!(nobody_runs(&sleep), "the command was left behind");
    Ok(())
}

fn ctrl_c() -> Result<()> {
    let words = [
        "pinscope",
        "-v",
        "capture",
        "--format",
        "json",
        "--duration",
        "1m",
    ];
    let mut running = start(&words)?;
    running.attached()?;
    running.signal(Signal::SIGINT)?;
    let ran = running.wait()?;
    ran.expect_code(0)?;
    let text = ran.stdout.clone();
    let captured = support::read(&text, ran)?;
    let seconds = captured.capture.window.seconds;
    ensure!(seconds < 20.0, "a window of {seconds} s");
    Ok(())
}

fn ctrl_c_with_cmd() -> Result<()> {
    let sleep = ["sleep", "32"];
    let words = ["pinscope", "-v", "capture", "--format", "json", "--"];
    let mut running = start(&[&words[..], &sleep].concat())?;
    running.attached()?;
    running.signal(Signal::SIGINT)?;
    let ran = running.wait()?;
    // CMD was ended by SIGTERM, and that is its exit status.
    ran.expect_code(143)?;
    let text = ran.stdout.clone();
    support::read(&text, ran)?;
    ensure!(nobody_runs(&sleep), "the command was left behind");
    Ok(())
}

fn stdout_is_the_reports() -> Result<()> {
    let words = [
        "pinscope",
        "capture",
        "--format",
        "json",
        "--",
        "echo",
        "words of CMD",
    ];
    let ran = run(&words)?;
    ran.expect_code(0)?;
    ensure!(ran.stderr.contains("words of CMD"), "{}", ran.said());
    ensure!(!ran.stdout.contains("words of CMD"), "{}", ran.said());
    let text = ran.stdout.clone();
    support::read(&text, ran)?;
    Ok(())
}

fn stdout_is_cmds() -> Result<()> {
    let captured = capture_of_any(&[], &["echo", "words of CMD"])?;
    let mut check = Check::default();
    check.same("stdout", captured.ran.stdout.as_str(), "words of CMD\n");
    check.same("stderr", captured.ran.stderr.as_str(), "");
    check.done(&Value::Null)
}

fn usage() -> Result<()> {
    for words in [
        &["capture", "--duration", "soon"][..],
        &["capture", "--hook", "nosuch=off"],
        &["capture", "--attach", "glue"],
        &["nosuch"],
    ] {
        let ran = run(&[&["pinscope"], words].concat())?;
        ran.expect_code(2)?;
        ensure!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "{}",
            ran.said()
        );
    }
    Ok(())
}

fn text() -> Result<()> {
    let cmd = [
        "workload",
        "run",
        "memfd-pin",
        "--pages",
        "64",
        "--comm",
        "a-victim",
    ];
    let ran = run(&[&["pinscope", "capture", "--"], &cmd[..]].concat())?;
    ran.expect_code(0)?;
    for word in ["a-victim", "shmem", "256"] {
        ensure!(ran.stdout.contains(word), "no {word}: {}", ran.stdout);
    }
    ensure!(
        !ran.stdout.contains('\x1b'),
        "colours in a pipe: {:?}",
        ran.stdout
    );
    Ok(())
}

fn ndjson() -> Result<()> {
    let words = [
        "pinscope",
        "capture",
        "--format",
        "ndjson",
        "--interval",
        "100ms",
    ];
    let more = [
        "--events",
        "1000",
        "--",
        "workload",
        "run",
        "memfd-pin",
        "--pages",
        "64",
    ];
    let ran = run(&[&words[..], &more].concat())?;
    ran.expect_code(0)?;
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| ran.said())?;
    let kinds: Vec<_> = lines
        .iter()
        .map(|l| l["type"].as_str().unwrap_or("?"))
        .collect();
    let mut check = Check::default();
    check.same("first line", kinds.first().copied(), Some("start"));
    check.same("last line", kinds.last().copied(), Some("report"));
    for kind in ["start", "report"] {
        check.same(kind, kinds.iter().filter(|k| **k == kind).count(), 1);
    }
    check.same(
        "events",
        kinds.iter().filter(|k| **k == "event").count(),
        64 * 4,
    );
    check.done(&Value::Null)?;
    let text = ran.stdout.clone();
    support::read(&text, ran)?;
    Ok(())
}

fn report() -> Result<()> {
    let file = scratch("kept.json");
    let name = file.to_str().context("no UTF-8")?;
    let words = ["pinscope", "capture", "--format", "json", "-o", name, "--"];
    run(&[&words[..], &["workload", "short-lived", "2"]].concat())?.expect_code(0)?;
    let again = run(&["pinscope", "report", "--format", "json", name])?;
    again.expect_code(0)?;
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    ensure!(
        again.json::<Value>()? == kept,
        "{} became {}",
        kept,
        again.stdout
    );
    let shown = run(&["pinscope", "report", name])?;
    shown.expect_code(0)?;
    ensure!(shown.stdout.contains("short-1"), "{}", shown.stdout);
    let _ = std::fs::remove_file(&file);
    Ok(())
}

fn doctor() -> Result<()> {
    const SCHEMA: &str = include_str!("../../schema/pinscope.doctor-1.schema.json");
    let ran = run(&["pinscope", "doctor", "--format", "json"])?;
    ran.expect_code(0)?;
    let json: Value = ran.json()?;
    let mut check = Check::default();
    meets(SCHEMA, &json, &mut check);
    let report: DoctorReport = serde_json::from_value(json)?;
    check.that(report.can_run, || ran.stdout.clone());
    for row in &report.checks {
        check.that(row.ok, || format!("{row:?}"));
    }
    let by_kprobe = report
        .hooks
        .iter()
        .any(|row| row.attach == Some(Attach::Kprobe));
    for row in &report.hooks {
        let Some(hook) = Hook::named(&row.name) else {
            continue;
        };
        // CONFIG_DEBUG_PAGE_REF is off on every stock kernel. With kprobes, the notifier's end is
        // left out unless it is requested.
        let entry = hook.entry();
        let expected =
            entry.usually_absent.is_none() && !(by_kprobe && entry.off_by_kprobe.is_some());
        check.that((row.state == HookState::Active) == expected, || {
            format!("{row:?}")
        });
    }
    check.done(&Value::Null)?;
    let text = run(&["pinscope", "doctor"])?;
    text.expect_code(0)?;
    ensure!(text.stdout.contains("try_to_unmap"), "{}", text.stdout);
    Ok(())
}

#[derive(Deserialize)]
struct Selftest {
    schema: String,
    scenarios: Vec<SelftestRow>,
}

fn selftest() -> Result<()> {
    // Temporary files on a disk, so that no scenario lacks anything.
    let words = [
        "env",
        "TMPDIR=/mnt",
        "pinscope",
        "selftest",
        "--format",
        "json",
    ];
    let ran = run(&words)?;
    ran.expect_code(0)?;
    let selftest: Selftest = ran.json()?;
    let mut check = Check::default();
    check.same("schema", selftest.schema.as_str(), "pinscope.selftest/1");
    check.same("scenarios", selftest.scenarios.len(), SCENARIOS.len());
    for row in &selftest.scenarios {
        check.that(row.outcome == Outcome::Pass, || format!("{row:?}"));
    }
    check.done(&Value::Null)
}

/// Returns what the kernel lists of attached programs.
fn attachments() -> Vec<String> {
    const OURS: [&str; 4] = [
        "try_to_unmap",
        "shrink_folio_list",
        "shrink_page_list",
        "__remove_mapping",
    ];
    let mut lines = lines_with("/sys/kernel/debug/kprobes/list", &OURS);
    lines.extend(lines_with("/sys/kernel/tracing/enabled_functions", &OURS));
    lines.extend(lines_with(
        "/proc/kallsyms",
        &["_k_unmap_", "_f_unmap_", "_k_shrink", "_f_shrink"],
    ));
    lines
}

fn kill_9(attach: &str) -> Result<()> {
    ensure!(
        attachments().is_empty(),
        "left by an earlier test: {:?}",
        attachments()
    );
    let words = [
        "pinscope",
        "-v",
        "capture",
        "--duration",
        "1m",
        "--attach",
        attach,
    ];
    let mut running = start(&words)?;
    running.attached()?;
    ensure!(
        !attachments().is_empty(),
        "attached, but the kernel lists nothing"
    );
    running.signal(Signal::SIGKILL)?;
    let ran = running.wait()?;
    ensure!(ran.status.code().is_none(), "{}", ran.said());
    ensure!(
        within_5_s(|| attachments().is_empty()),
        "left: {:?}",
        attachments()
    );

    // The next capture starts from scratch.
    let cmd = [
        "workload",
        "run",
        "memfd-pin",
        "--json",
        "--pages",
        "64",
        "--rounds",
        "2",
    ];
    let Captured { ran, capture, json } = capture_of_any(&["--attach", attach], &cmd)?;
    let truth: Truth = ran.json()?;
    let mut check = Check::default();
    counted(&capture, &truth, &mut check);
    check.done(&json)
}
