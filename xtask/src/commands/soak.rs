//! `cargo xtask soak`: an hour of containers that come and go, compressed into minutes of one guest,
//! beside an exporter and two scrapers.
//!
//! The guest tests' program runs the churn, scrapes, and judges; it prints lines `sample CSV` and
//! `figure NAME | VALUE`, from which the files in `target/soak` are made.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::machine::Machine;
use crate::guest::stream::{Buffer, Lines};
use crate::guest::{self, files, kernels};
use crate::host::setup::{self, Purpose};
use crate::host::{ebpf_build, paths, progress, user_build};

/// The directory of the results.
const DIR: &str = "target/soak";

/// Options of `soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run the guest with this series
    #[arg(long, value_name = "SERIES", default_value = "6.12")]
    kernel: String,
    /// Number of short-lived processes
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    processes: u64,
    /// Number of short-lived cgroups that the processes are spread over
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    cgroups: u64,
    /// Number of long-lived processes, each in a cgroup of its own
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u64).range(0..=64))]
    steady: u64,
    /// Minutes after which the guest is stopped
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    timeout: u64,
}

/// Runs the soak, writes its files, and prints its figures.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::ready(&[Purpose::Build, Purpose::Guests])?;
    ebpf_build::build()?;
    let programs = user_build::build()?;
    let plan = serde_json::json!({
        "processes": args.processes,
        "cgroups": args.cgroups,
        "steady": args.steady,
        "pages": 2,
        "rounds": 1,
        "scrapers": [1000, 5000],
    });
    let mut machine = Machine::new(
        kernels::find(&args.kernel, None, false)?,
        &["guest-tests", "--helper", "soak", &plan.to_string()],
    );
    machine.files = files::of_programs(&programs);
    machine.timeout = Duration::from_secs(60 * args.timeout);
    let version = machine.kernel.version.clone();
    progress::step(&format!(
        "soak: {} processes in {} cgroups (Linux {version})",
        args.processes, args.cgroups
    ));
    let kept = Buffer::default();
    let exit = guest::run(
        &machine,
        Box::new(kept.clone()),
        Box::new(Lines::new("soak| ", Buffer::default())),
    )?;
    let text = kept.text();
    let table = table(&text, &version);
    write("samples.csv", &lines(&text, "sample "))?;
    write("soak.md", &table)?;
    print!("{table}");
    progress::step(&format!("{DIR} has soak.md and samples.csv"));
    if exit.status != 0 {
        progress::warn(&format!("the soak ended with status {}", exit.status));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the lines that begin with a word, without it.
fn lines(text: &str, word: &str) -> String {
    text.lines()
        .filter_map(|line| line.strip_prefix(word))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Returns the figures as a table in Markdown.
fn table(text: &str, kernel: &str) -> String {
    let mut table = format!("| Linux {kernel} | |\n|---|---|\n");
    for line in lines(text, "figure ").lines() {
        table.push_str(&format!("| {line} |\n"));
    }
    table
}

fn write(name: &str, text: &str) -> Result<()> {
    paths::create_dir(DIR)?;
    let path = format!("{DIR}/{name}");
    std::fs::write(&path, text).with_context(|| format!("cannot write {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_rows() {
        let text = "sample a,b\nnoise\nfigure lost | 0\nsample 1,2\n";
        assert_eq!(lines(text, "sample "), "a,b\n1,2\n");
        assert_eq!(
            table(text, "6.12.1"),
            "| Linux 6.12.1 | |\n|---|---|\n| lost | 0 |\n"
        );
    }
}
