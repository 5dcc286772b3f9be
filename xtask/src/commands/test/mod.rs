//! `cargo xtask test`: every check and every test, on this machine and in guests.

mod guests;
mod on_host;
mod packages;
mod results;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::commands::sync;
use crate::guest::kernels;
use crate::host::setup::{self, Purpose};
use crate::host::user_build::{self, Programs};
use crate::host::{ebpf_build, paths, process, progress};
use guests::{TOOLS, chosen, run_all};
use results::{TestCounts, table};
use steps::Steps;

/// A part of the tests.
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
    /// Run only this part
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Run guests of these kernels only: series that Debian's archive carries, or paths of kernel
    /// images
    #[arg(long, value_name = "SERIES|VMLINUZ")]
    kernel: Vec<String>,
    /// The directory lib/modules/VERSION that belongs to the kernel image
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Number of guests that run in parallel
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Arguments for the guest tests, such as parts of their names
    #[arg(last = true, value_name = "ARGS")]
    filter: Vec<String>,
}

/// Runs the steps and prints their table. The exit status is 0 if all passed.
pub(crate) fn run(mut args: Args) -> Result<ExitCode> {
    for kernel in &mut args.kernel {
        *kernel = kernels::absolute(kernel)?;
        if !kernels::is_series(kernel) && !Path::new(kernel).is_file() {
            bail!(
                "--kernel {kernel}: neither a series (5.10, 6.12, …) nor the path of a kernel image"
            );
        }
    }
    args.modules = args.modules.map(paths::absolute).transpose()?;
    let images = args.kernel.iter().filter(|k| !kernels::is_series(k));
    if args.modules.is_some() && (images.count() != 1 || args.kernel.len() != 1) {
        bail!("--modules belongs to one kernel image: give exactly one --kernel VMLINUZ with it");
    }
    paths::enter_root()?;
    let args = &args;
    let mut steps = Steps::default();
    let guests = args.only != Some(Only::Host);
    let host = matches!(args.only, None | Some(Only::Host));
    let mut purposes = vec![Purpose::Build];
    purposes.extend(host.then_some(Purpose::Checks));
    purposes.extend(host.then_some(Purpose::Deploy));
    purposes.extend(guests.then_some(Purpose::Guests));
    // Tests on this machine use the tools too.
    purposes.extend(TOOLS.map(Purpose::Tool));
    let packages = args.only.is_none() || args.only == Some(Only::Packages);
    purposes.extend(packages.then_some(Purpose::Packages));
    if steps.check("setup", || setup::ready(&purposes)) {
        if host {
            steps.check("format", || {
                process::noisy(process::cargo().args(["fmt", "--all", "--check"]))
            });
            steps.check("copies", sync::check_copies);
        }
        if steps.check("build: kernel side", || ebpf_build::build().map(drop)) {
            if host {
                on_host::run(&mut steps);
            }
            if guests {
                in_guests(args, &mut steps);
            }
        }
    }
    println!("{}", table(&steps.done));
    let failed = steps.done.iter().any(|s| s.counts.failed > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The tests in guests.
fn in_guests(args: &Args, steps: &mut Steps) {
    let mut programs = Programs::default();
    let built = steps.check("build: static binaries", || {
        programs = user_build::build()?;
        Ok(())
    });
    if !built {
        return;
    }
    if programs.guest_tests.is_none() {
        progress::warn("the sources have no guest tests (probe-user/tests/guest)");
        steps.counted("guest tests", || Ok(TestCounts::SKIPPED));
        return;
    }
    // In sequence, so that the archive's lists are read once.
    let mut jobs = Vec::new();
    let only_packages = args.only == Some(Only::Packages);
    for guest in chosen(&args.kernel).into_iter().filter(|_| !only_packages) {
        match kernels::find(guest.kernel, args.modules.as_deref(), false) {
            Ok(kernel) => jobs.push(guest.job(kernel, &programs, &args.filter)),
            Err(error) => {
                steps.counted(&guest.name(), || Err(error));
            }
        }
    }
    steps.done.extend(run_all(jobs, args.jobs));
    let filtered = !args.filter.is_empty() || !args.kernel.is_empty();
    if only_packages || (args.only.is_none() && !filtered) {
        steps.counted("packages", || {
            let kernel = kernels::find(packages::SERIES, None, false)?;
            packages::run(kernel, &programs)
        });
    }
}
