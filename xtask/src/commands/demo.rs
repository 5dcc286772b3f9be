//! `cargo xtask demo`: a real capture of a real workload.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::machine::Machine;
use crate::guest::{self, files, kernels, stream};
use crate::host::setup::{self, Purpose};
use crate::host::user_build::Programs;
use crate::host::{ebpf_build, progress, user_build};

/// The command that the demo runs. pinscope's report goes to stdout, and the command fails unless
/// the workload counted the same itself.
const DEMO: &[&str] = &["workload", "show"];

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The guest's kernel: a series of Debian's archive
    #[arg(long, value_name = "SERIES", default_value = "6.12")]
    kernel: String,
    /// Run on this machine's kernel instead of a guest's (needs root)
    #[arg(long)]
    host: bool,
}

/// Installs what is missing, builds, and runs the demo.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let purposes: &[Purpose] = if args.host {
        &[Purpose::Build]
    } else {
        &[Purpose::Build, Purpose::Guests]
    };
    setup::ready(purposes)?;
    ebpf_build::build()?;
    let programs = user_build::build()?;
    if args.host {
        return on_host(&programs);
    }
    let kernel = kernels::find(&args.kernel, None, false)?;
    progress::step(&format!(
        "booting a guest with Linux {} (Debian's {})",
        kernel.name, kernel.version
    ));
    // The workload needs a file on a disk: /mnt is the guest's.
    let mut machine = Machine::new(kernel, &[&["env", "TMPDIR=/mnt"], DEMO].concat());
    machine.files = files::of_programs(&programs);
    machine.timeout = Duration::from_secs(300);
    let exit = guest::run(&machine, stream::raw_stdout()?, stream::raw_stderr())?;
    progress::step(&format!(
        "done; the boot took {:.0} s of this",
        exit.boot.as_secs_f64()
    ));
    Ok(ExitCode::from(exit.status))
}

/// Runs the demo on this machine.
fn on_host(programs: &Programs) -> Result<ExitCode> {
    let workload = programs
        .workload
        .as_ref()
        .context("the sources have no example `workload`: run this in a complete checkout")?;
    let mut dirs: Vec<PathBuf> = files::of_programs(programs)
        .iter()
        .filter_map(|f| f.host.parent().map(Path::to_path_buf))
        .collect();
    dirs.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let path = std::env::join_paths(dirs)
        .context("a directory's name contains a colon, which PATH cannot hold")?;
    progress::step("capturing on this machine");
    let status = Command::new(workload)
        .args(DEMO.iter().skip(1))
        .env("PATH", path)
        .status()
        .with_context(|| format!("cannot start {}", workload.display()))?;
    let code = status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}
