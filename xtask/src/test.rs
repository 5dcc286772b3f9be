//! `cargo xtask test`: every check and every test, on this machine and in
//! guests.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::results::{Counts, Step, table};
use crate::test_guests::{TOOLS, chosen, run_all};
use crate::user::Programs;
use crate::{ebpf, kernels, setup, sh, test_packages, user};

/// What isn't built by default is checked and tested on this machine; guests run what is.
const FEATURES: [&str; 2] = ["--features", "pinscope/otlp"];

/// One half of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Only {
    /// Checks, and tests on this machine.
    Host,
    /// Tests in guests.
    Guest,
    /// The packages, built and tried in a Debian of their own.
    Packages,
}

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only this half
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Run guests of these series only (any series of Debian's archive)
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,
    /// Guests at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Arguments for the guest tests: names to filter by, …
    #[arg(last = true, value_name = "ARGS")]
    filter: Vec<String>,
}

/// Runs it all; the exit status says whether everything passed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    for series in &args.kernel {
        if !kernels::is_series(series) {
            bail!(
                "--kernel {series}: tests take a series, such as 6.12; `cargo xtask vm` takes images too"
            );
        }
    }
    let mut steps = Steps::default();
    let guests = args.only != Some(Only::Host);
    let host = matches!(args.only, None | Some(Only::Host));
    let mut purposes = vec![setup::For::Build];
    purposes.extend(host.then_some(setup::For::Checks));
    purposes.extend(guests.then_some(setup::For::Guests));
    // Tests on this machine use them too.
    purposes.extend(TOOLS.map(setup::For::Tool));
    let packages = args.only.is_none() || args.only == Some(Only::Packages);
    purposes.extend(packages.then_some(setup::For::Packages));
    if steps.check("setup", || setup::ready(&purposes)) {
        if host {
            steps.check("format", || {
                sh::noisy(sh::cargo().args(["fmt", "--all", "--check"]))
            });
        }
        if steps.check("build: kernel side", || ebpf::build().map(drop)) {
            if host {
                on_host(&mut steps);
            }
            if guests {
                in_guests(args, &mut steps);
            }
        }
    }
    println!("{}", table(&steps.0));
    let failed = steps.0.iter().any(|s| s.counts.failed > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    /// Does one step; says whether it passed.
    fn check(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> bool {
        self.counted(name, || work().map(|()| Counts::PASSED))
    }

    fn counted(&mut self, name: &str, work: impl FnOnce() -> Result<Counts>) -> bool {
        sh::progress(name);
        let begun = Instant::now();
        let counts = work().unwrap_or_else(|error| {
            sh::progress(&format!("{name} FAILED: {error:#}"));
            Counts::FAILED
        });
        self.0.push(Step {
            name: name.to_string(),
            counts,
            took: begun.elapsed(),
        });
        counts.failed == 0
    }
}

/// Checks of the sources, and the tests that need no guest.
fn on_host(steps: &mut Steps) {
    steps.check("clippy", || {
        let mut command = sh::cargo();
        command.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
        command.args(FEATURES).args(["--", "-D", "warnings"]);
        sh::noisy(with_object(&mut command)?)
    });
    steps.counted("dependencies", || {
        let deny = setup::cargo_deny()?;
        let mut command = Command::new(&deny);
        sh::noisy(sh::clean(&mut command).args([
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ]))?;
        Ok(Counts::PASSED)
    });
    steps.counted("advisories", advisories);
    steps.counted("host tests", || {
        let mut command = sh::cargo();
        // Setup has brought what the tests use: one that isn't found is a failure.
        command.env("PINSCOPE_REQUIRE_TOOLS", "1");
        command.args(["test", "--workspace", "--no-fail-fast"]);
        command.args(FEATURES);
        let (text, success) = streamed(with_object(&mut command)?)?;
        Ok(Counts::of_run(&text, success))
    });
}

fn with_object(command: &mut Command) -> Result<&mut Command> {
    Ok(command.env("PINSCOPE_EBPF_OBJECT", sh::absolute(ebpf::OBJECT)?))
}

/// Known vulnerabilities, where their database can be fetched.
fn advisories() -> Result<Counts> {
    let deny = setup::cargo_deny()?;
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
        sh::progress(
            "advisories: their database can't be fetched from here, so they are not checked",
        );
        return Ok(Counts::SKIPPED);
    }
    let mut command = Command::new(&deny);
    sh::noisy(sh::clean(&mut command).args([
        "--log-level",
        "error",
        "check",
        "--disable-fetch",
        "advisories",
    ]))?;
    Ok(Counts::PASSED)
}

/// Runs a command with its stdout passed to our stderr line by line; returns
/// the text, and whether the command succeeded.
fn streamed(command: &mut Command) -> Result<(String, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", sh::shown(command)))?;
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

fn in_guests(args: &Args, steps: &mut Steps) {
    let mut programs = Programs::default();
    let built = steps.check("build: static binaries", || {
        programs = user::build()?;
        Ok(())
    });
    if !built {
        return;
    }
    if programs.guest_tests.is_none() {
        sh::warn("the sources have no guest tests (probe-user/tests/guest.rs)");
        steps.counted("guest tests", || Ok(Counts::SKIPPED));
        return;
    }
    // One after the other: the archive's lists are read once.
    let mut jobs = Vec::new();
    let only_packages = args.only == Some(Only::Packages);
    for guest in chosen(&args.kernel).into_iter().filter(|_| !only_packages) {
        match kernels::find(guest.series, None, false) {
            Ok(kernel) => jobs.push(guest.job(kernel, &programs, &args.filter)),
            Err(error) => {
                steps.counted(&guest.name(), || Err(error));
            }
        }
    }
    steps.0.extend(run_all(jobs, args.jobs));
    let filtered = !args.filter.is_empty() || !args.kernel.is_empty();
    if only_packages || (args.only.is_none() && !filtered) {
        steps.counted("packages", || {
            let kernel = kernels::find(test_packages::SERIES, None, false)?;
            test_packages::run(kernel, &programs)
        });
    }
}
