//! The checks of the sources, and the tests that need no guest.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::commands::test::results::TestCounts;
use crate::commands::test::steps::Steps;
use crate::host::{cargo_tools, deploy_tools, ebpf_build, paths, process, progress};

/// Everything is checked and tested with all features, as it is shipped.
const FEATURES: [&str; 2] = ["--features", "pinscope/otlp"];

/// Runs the checks and the tests.
pub(super) fn run(steps: &mut Steps) {
    steps.check("clippy", || {
        let mut command = process::cargo();
        command.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
        command.args(FEATURES).args(["--", "-D", "warnings"]);
        process::noisy(with_object(&mut command)?)
    });
    steps.counted("dependencies", || {
        let deny = cargo_tools::cargo_deny()?;
        let mut command = Command::new(&deny);
        process::noisy(process::clean(&mut command).args([
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ]))?;
        Ok(TestCounts::PASSED)
    });
    steps.counted("advisories", advisories);
    let deploy = deploy_tools::ensure();
    if let Err(reason) = &deploy {
        steps.counted("chart and manifests", || {
            progress::step(&format!(
                "chart and manifests: not checked, because their checkers cannot be installed: {reason:#}"
            ));
            Ok(TestCounts::SKIPPED)
        });
    }
    steps.counted("host tests", || {
        let mut command = process::cargo();
        if let Ok(tools) = &deploy {
            command.env("PINSCOPE_HELM", &tools.helm);
            command.env("PINSCOPE_KUBERNETES_VALIDATE", &tools.python);
        }
        // Setup has installed the tools that tests use: a missing one is a failure.
        command.env("PINSCOPE_REQUIRE_TOOLS", "1");
        command.args(["test", "--workspace", "--no-fail-fast"]);
        command.args(FEATURES);
        let (text, success) = streamed(with_object(&mut command)?)?;
        Ok(TestCounts::of_run(&text, success))
    });
}

fn with_object(command: &mut Command) -> Result<&mut Command> {
    Ok(command.env("PINSCOPE_EBPF_OBJECT", paths::absolute(ebpf_build::OBJECT)?))
}

/// Checks the dependencies for known vulnerabilities, if the database can be fetched.
fn advisories() -> Result<TestCounts> {
    let deny = cargo_tools::cargo_deny()?;
    let fetched = Command::new("timeout")
        .args(["60"])
        .arg(&deny)
        .args(["--log-level", "off", "fetch", "db"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !fetched {
        progress::step(
            "advisories: not checked, because their database cannot be fetched from this machine",
        );
        return Ok(TestCounts::SKIPPED);
    }
    let mut command = Command::new(&deny);
    process::noisy(process::clean(&mut command).args([
        "--log-level",
        "error",
        "check",
        "--disable-fetch",
        "advisories",
    ]))?;
    Ok(TestCounts::PASSED)
}

/// Runs a command and copies its stdout to our stderr line by line. Returns the text, and whether the
/// command succeeded.
fn streamed(command: &mut Command) -> Result<(String, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::shown(command)))?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("cannot read a test's output")?;
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            text.push_str(&line);
            text.push('\n');
        }
    }
    let status = child.wait().context("cannot wait for the tests")?;
    Ok((text, status.success()))
}
