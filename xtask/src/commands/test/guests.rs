//! The tests that run inside guests.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::commands::test::results::{Step, TestCounts};
use crate::guest::kernels::Kernel;
use crate::guest::machine::Machine;
use crate::guest::stream::{Buffer, Lines};
use crate::guest::{self, files};
use crate::host::tool::Tool;
use crate::host::user_build::Programs;
use crate::host::{paths, progress};

/// A guest that runs the guest tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guest<'a> {
    /// The kernel's series, or the path of its image.
    pub(crate) kernel: &'a str,
    cpus: u32,
    nodes: u32,
    /// A part of the names of the tests to run; empty for all.
    only: &'a str,
}

const fn guest(kernel: &str, cpus: u32, nodes: u32) -> Guest<'_> {
    Guest {
        kernel,
        cpus,
        nodes,
        only: "",
    }
}

/// A guest for the tests that count: the number of processors matters to them alone.
const fn counting(kernel: &str, cpus: u32, nodes: u32) -> Guest<'_> {
    Guest {
        kernel,
        cpus,
        nodes,
        only: "count",
    }
}

/// The guests of a whole run, with their processors and NUMA nodes: every supported series with all
/// tests, and one series also with one and with four processors.
const GUESTS: &[Guest<'static>] = &[
    guest("5.10", 2, 2),
    guest("6.1", 2, 2),
    guest("6.12", 2, 2),
    guest("6.18", 2, 2),
    guest("7.2", 2, 2),
    counting("6.12", 1, 1),
    counting("6.12", 4, 2),
];

/// The programs of this machine that the tests use.
pub(crate) const TOOLS: [Tool; 2] = [Tool::Tmux, Tool::Prometheus];

/// The time limit for one guest.
const GUEST_LIMIT: Duration = Duration::from_secs(2400);

/// Returns the guests to run for these kernels: those of the table, or the usual guest for a kernel
/// that the table lacks. No kernel means all guests.
pub(crate) fn chosen(kernels: &[String]) -> Vec<Guest<'_>> {
    if kernels.is_empty() {
        return GUESTS.to_vec();
    }
    let mut chosen = Vec::new();
    for wanted in kernels {
        let before = chosen.len();
        chosen.extend(GUESTS.iter().filter(|g| g.kernel == wanted));
        if chosen.len() == before {
            chosen.push(guest(wanted, 2, 2));
        }
    }
    chosen
}

impl Guest<'_> {
    /// The name of the guest's step.
    pub(crate) fn name(&self) -> String {
        let plural = if self.cpus == 1 { "" } else { "s" };
        let name = Path::new(self.kernel).file_name().unwrap_or_default();
        format!("guest {}, {} CPU{plural}", name.display(), self.cpus)
    }

    /// Prepares the guest with its kernel and programs.
    pub(crate) fn job(&self, kernel: Kernel, programs: &Programs, filter: &[String]) -> Job {
        let mut machine = Machine::new(kernel, &["guest-tests"]);
        machine.command.extend(filter.iter().map(Into::into));
        if filter.is_empty() && !self.only.is_empty() {
            machine.command.push(self.only.into());
        }
        machine.cpus = self.cpus;
        machine.nodes = self.nodes;
        machine.files = files::of_programs(programs);
        if self.only.is_empty() {
            machine.tools = TOOLS.to_vec();
        }
        machine.timeout = GUEST_LIMIT;
        Job {
            name: self.name(),
            machine,
        }
    }
}

/// A guest that is ready to start.
#[derive(Debug)]
pub(crate) struct Job {
    name: String,
    machine: Machine,
}

/// Runs the jobs, `at_a_time` in parallel, and returns their steps in the jobs' order.
pub(crate) fn run_all(jobs: Vec<Job>, at_a_time: u8) -> Vec<Step> {
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
    let kernel = &job.machine.kernel;
    progress::step(&format!(
        "{}: starting, kernel {}",
        job.name, kernel.version
    ));
    let begun = Instant::now();
    let kept = Buffer::default();
    let prefix = format!("{} {}c| ", kernel.name, job.machine.cpus);
    let result = guest::run(
        &job.machine,
        Box::new(Lines::new(&prefix, kept.clone())),
        Box::new(Lines::new(&prefix, Buffer::default())),
    );
    let text = kept.text();
    let counts = match result {
        Ok(exit) => {
            progress::step(&format!(
                "{}: ended with {} (boot {:.1} s, clock {})",
                job.name,
                exit.status,
                exit.boot.as_secs_f64(),
                exit.clocksource
            ));
            TestCounts::of_run(&text, exit.status == 0)
        }
        Err(error) => {
            progress::step(&format!("{} FAILED: {error:#}", job.name));
            // Tests that passed before still count; the guest's death is one failure.
            let before = passed_lines(&text);
            TestCounts {
                passed: before,
                ..TestCounts::FAILED
            }
        }
    };
    keep_screens(&text, &format!("{}-{}", kernel.name, job.machine.cpus));
    let log =
        Path::new("target/logs").join(format!("guest-{}-{}.log", kernel.name, job.machine.cpus));
    let _ = paths::create_dir("target/logs").map(|()| std::fs::write(log, text));
    Step {
        name: job.name.clone(),
        counts,
        took: begun.elapsed(),
    }
}

/// Writes the screens that tests print (lines `screen NAME|LINE`) to files in `target/screens`.
fn keep_screens(text: &str, guest: &str) {
    let mut screens: BTreeMap<&str, String> = BTreeMap::new();
    for line in text.lines() {
        // The harness prints the test's name before a test's first line.
        let Some((_, rest)) = line.split_once("screen ") else {
            continue;
        };
        if let Some((name, shown)) = rest.split_once('|') {
            let screen = screens.entry(name).or_default();
            screen.push_str(shown);
            screen.push('\n');
        }
    }
    for (name, screen) in screens {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        let dir = Path::new("target/screens").join(guest);
        if plain {
            let _ = paths::create_dir(&dir)
                .map(|()| std::fs::write(dir.join(format!("{name}.txt")), screen));
        }
    }
}

/// Counts the tests that passed in a run whose harness printed no result.
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
        assert_eq!(chosen(&["6.16".to_string()]), [guest("6.16", 2, 2)]);
        let own = ["/boot/vmlinuz-own".to_string()];
        assert_eq!(chosen(&own)[0].name(), "guest vmlinuz-own, 2 CPUs");
    }

    #[test]
    fn lines_before_a_death() {
        assert_eq!(
            passed_lines("test a ... ok\ntest b ... FAILED\ntest c ... ok\nok\n"),
            2
        );
    }
}
