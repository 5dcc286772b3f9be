//! Developer commands.
//!
//! `commands` has a file for each command and builds on `guest`, which makes and runs one guest;
//! both build on `host`, which is about this machine.

mod commands;
mod guest;
mod host;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use commands::{bench, build, check, demo, dist, packages, soak, sync, test, vm};
use guest::session::{GUEST_FAILED, GuestFailed};
use host::{paths, progress};

/// pinscope's developer commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show a real capture of a real workload, in a guest kernel or on this machine
    Demo(demo::Args),
    /// Install what is missing, and run every test
    Test(test::Args),
    /// Run a command in a guest kernel under QEMU
    Vm(vm::Args),
    /// Build the kernel side and the static binaries
    Build,
    /// Check the sources of both sides without building them, for editors too
    Check(check::Args),
    /// Build the static release binary, and print its path
    Dist,
    /// Run the benchmarks
    Bench(bench::Args),
    /// Run an exporter beside many short-lived processes and cgroups for some minutes
    Soak(soak::Args),
    /// Build the Debian and the RPM package, and print their paths
    Packages,
    /// Make the copies in the Helm chart and the generated parts of the docs
    Sync,
}

fn main() -> ExitCode {
    let _ = progress::started();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<GuestFailed>() {
                ExitCode::from(GUEST_FAILED)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    // `vm` and `test` have paths of the caller to make absolute before they enter the root.
    if !matches!(cli.command, Task::Vm(_) | Task::Test(_)) {
        paths::enter_root()?;
    }
    match cli.command {
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(args),
        Task::Vm(args) => vm::run(args),
        Task::Bench(args) => bench::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Build => build::run(),
        Task::Check(args) => check::run(&args),
        Task::Dist => dist::run(),
        Task::Packages => packages::run(),
        Task::Sync => sync::run(),
    }
}
