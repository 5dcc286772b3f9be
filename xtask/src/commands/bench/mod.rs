//! `cargo xtask bench`: benchmarks, each a ratio measured side by side in one boot of one guest.
//!
//! A benchmark is a shell script whose variants take turns, and which prints a line
//! `bench NAME VARIANT SECONDS` for each run. Its result is a ratio of medians.

mod catalogue;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::guest::machine::{AccelChoice, Machine};
use crate::guest::stream::{Buffer, Lines};
use crate::guest::{self, files, kernels};
use crate::host::setup::{self, Purpose};
use crate::host::{ebpf_build, paths, process, progress, user_build};
use catalogue::{BENCHES, Bench, NATIVE, NATIVE_ABOUT};
use report::{figures, report, times};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Benchmarks to run (default: all)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List the benchmarks
    #[arg(long)]
    list: bool,
    /// Run the guests with this series
    #[arg(long, value_name = "SERIES")]
    kernel: Option<String>,
}

/// Runs the benchmarks, and prints their tables.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        for bench in BENCHES {
            println!("{:12} {}", bench.name, bench.about);
        }
        println!("{NATIVE:12} {NATIVE_ABOUT}");
        return Ok(ExitCode::SUCCESS);
    }
    for name in &args.names {
        if name != NATIVE && !BENCHES.iter().any(|b| b.name == name) {
            bail!("{name} is not a benchmark: `cargo xtask bench --list` lists them");
        }
    }
    let chosen: Vec<&Bench> = BENCHES
        .iter()
        .filter(|b| args.names.is_empty() || args.names.iter().any(|n| n == b.name))
        .collect();
    let mut purposes = vec![Purpose::Build, Purpose::Guests];
    let tools = chosen.iter().flat_map(|b| b.tools);
    purposes.extend(tools.map(|t| Purpose::Tool(*t)));
    setup::ready(&purposes)?;
    ebpf_build::build()?;
    if args.names.is_empty() || args.names.iter().any(|n| n == NATIVE) {
        progress::step(&format!("{NATIVE}: {NATIVE_ABOUT}"));
        let mut command = process::cargo();
        command
            .args(["bench", "-q", "-p", "pinscope", "--bench", NATIVE])
            .env("PINSCOPE_EBPF_OBJECT", paths::absolute(ebpf_build::OBJECT)?);
        process::noisy(&mut command)?;
    }
    if chosen.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let programs = user_build::build()?;
    let mut failed = false;
    for bench in chosen {
        let series = args.kernel.as_deref().unwrap_or(bench.kernel);
        let mut machine = Machine::new(
            kernels::find(series, None, false)?,
            &[
                "env",
                &format!("BENCH={}", bench.name),
                "sh",
                "-c",
                bench.script,
            ],
        );
        machine.files = files::of_programs(&programs);
        machine.cpus = bench.cpus;
        machine.tools = bench.tools.to_vec();
        machine.accel = bench.counted.then_some(AccelChoice::Icount);
        machine.timeout = Duration::from_secs(1800);
        progress::step(&format!(
            "{}: {} (Linux {})",
            bench.name, bench.about, machine.kernel.version
        ));
        let kept = Buffer::default();
        let prefix = format!("{}| ", bench.name);
        let exit = guest::run(
            &machine,
            Box::new(Lines::new(&prefix, kept.clone())),
            Box::new(Lines::new(&prefix, Buffer::default())),
        )?;
        if exit.status != 0 {
            progress::warn(&format!(
                "{}: its script ended with status {}",
                bench.name, exit.status
            ));
            failed = true;
        }
        let times = times(&kept.text(), bench.name);
        let (text, complete) = report(bench, series, &times);
        print!("{text}");
        for figure in figures(&kept.text(), bench.name) {
            println!("{figure}");
        }
        failed |= !complete;
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
