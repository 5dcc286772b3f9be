//! `cargo xtask test`: every check and every test, on this machine and in
//! guests.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::kernels::{self, Kernel};
use crate::results::{Counts, Step, table};
use crate::stream::{Buffer, Lines};
use crate::user::Programs;
use crate::{ebpf, setup, sh, user, vm};

/// A guest to run the guest tests in.
#[derive(Debug, Clone, Copy)]
struct Guest {
    series: &'static str,
    cpus: u32,
    nodes: u32,
}

/// The guests of a whole run: every supported series, and one series also with
/// one and with four processors.
const GUESTS: &[Guest] = &[
    Guest {
        series: "5.10",
        cpus: 2,
        nodes: 2,
    },
    Guest {
        series: "6.1",
        cpus: 2,
        nodes: 2,
    },
    Guest {
        series: "6.12",
        cpus: 2,
        nodes: 2,
    },
    Guest {
        series: "6.18",
        cpus: 2,
        nodes: 2,
    },
    Guest {
        series: "7.2",
        cpus: 2,
        nodes: 2,
    },
    Guest {
        series: "6.12",
        cpus: 1,
        nodes: 1,
    },
    Guest {
        series: "6.12",
        cpus: 4,
        nodes: 2,
    },
];

/// How long one guest may take.
const GUEST_LIMIT: Duration = Duration::from_secs(1200);

/// One half of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Only {
    /// Checks, and tests on this machine.
    Host,
    /// Tests in guests.
    Guest,
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
    let host = args.only != Some(Only::Guest);
    let purposes: &[setup::For] = if guests {
        &[setup::For::Build, setup::For::Guests]
    } else {
        &[setup::For::Build]
    };
    if steps.check("setup", || setup::ready(purposes)) {
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
        command.args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]);
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
        command.args(["test", "--workspace", "--no-fail-fast"]);
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

/// A guest whose kernel is at hand.
struct Job {
    name: String,
    spec: vm::Spec,
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
    for (series, cpus, nodes) in chosen(&args.kernel) {
        let name = format!(
            "guest {series}, {cpus} CPU{}",
            if cpus == 1 { "" } else { "s" }
        );
        match kernels::find(&series, None, false) {
            Ok(kernel) => jobs.push(Job {
                name,
                spec: spec(kernel, cpus, nodes, &programs, &args.filter),
            }),
            Err(error) => {
                steps.counted(&name, || Err(error));
            }
        }
    }
    steps.0.extend(run_all(jobs, args.jobs));
}

/// The guests wanted: those of the table, or for a series that it lacks the
/// usual one.
fn chosen(series: &[String]) -> Vec<(String, u32, u32)> {
    let of = |guest: &Guest| (guest.series.to_string(), guest.cpus, guest.nodes);
    if series.is_empty() {
        return GUESTS.iter().map(of).collect();
    }
    series
        .iter()
        .flat_map(|wanted| {
            let found: Vec<_> = GUESTS
                .iter()
                .filter(|g| g.series == wanted)
                .map(of)
                .collect();
            if found.is_empty() {
                vec![(wanted.clone(), 2, 2)]
            } else {
                found
            }
        })
        .collect()
}

fn spec(kernel: Kernel, cpus: u32, nodes: u32, programs: &Programs, filter: &[String]) -> vm::Spec {
    let mut spec = vm::Spec::new(kernel, &["guest-tests"]);
    spec.command.extend(filter.iter().map(Into::into));
    spec.cpus = cpus;
    spec.nodes = nodes;
    spec.files = programs.files();
    spec.timeout = GUEST_LIMIT;
    spec
}

/// Runs the jobs, some at a time, and returns their steps in the jobs' order.
fn run_all(jobs: Vec<Job>, at_a_time: u8) -> Vec<Step> {
    let queue: Mutex<VecDeque<(usize, Job)>> = Mutex::new(jobs.into_iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let next = queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some((place, job)) = next else { break };
                    let step = run_one(&job);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((place, step));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, step)| step).collect()
}

fn run_one(job: &Job) -> Step {
    let kernel = &job.spec.kernel;
    sh::progress(&format!(
        "{}: starting, kernel {}",
        job.name, kernel.version
    ));
    let begun = Instant::now();
    let kept = Buffer::default();
    let prefix = format!("{} {}c| ", kernel.name, job.spec.cpus);
    let result = vm::run(
        &job.spec,
        Box::new(Lines::new(&prefix, kept.clone())),
        Box::new(Lines::new(&prefix, Buffer::default())),
    );
    let text = kept.text();
    let counts = match result {
        Ok(outcome) => {
            sh::progress(&format!(
                "{}: ended with {} (boot {:.1} s, clock {})",
                job.name,
                outcome.status,
                outcome.boot.as_secs_f64(),
                outcome.clocksource
            ));
            Counts::of_run(&text, outcome.status == 0)
        }
        Err(error) => {
            sh::progress(&format!("{} FAILED: {error:#}", job.name));
            // What passed before counts; the guest's death is one failure more.
            let before = passed_lines(&text);
            Counts {
                passed: before,
                ..Counts::FAILED
            }
        }
    };
    let log = Path::new("target/logs").join(format!("guest-{}-{}.log", kernel.name, job.spec.cpus));
    let _ = sh::create_dir("target/logs").map(|()| std::fs::write(log, text));
    Step {
        name: job.name.clone(),
        counts,
        took: begun.elapsed(),
    }
}

/// Tests that passed, where no harness came to sum them up.
fn passed_lines(text: &str) -> u64 {
    let passed = |line: &&str| line.starts_with("test ") && line.trim_end().ends_with("... ok");
    u64::try_from(text.lines().filter(passed).count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_guests() {
        assert_eq!(chosen(&[]).len(), GUESTS.len());
        assert_eq!(chosen(&["6.12".to_string()]).len(), 3);
        assert_eq!(chosen(&["6.16".to_string()]), [("6.16".to_string(), 2, 2)]);
    }

    #[test]
    fn lines_before_a_death() {
        assert_eq!(
            passed_lines("test a ... ok\ntest b ... FAILED\ntest c ... ok\nok\n"),
            2
        );
    }
}
