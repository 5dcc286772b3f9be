//! `cargo xtask demo`: a real capture of a real workload, on a fresh machine.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{ebpf, kernels, setup, sh, stream, user, vm};

/// What the demo runs; the report goes to stdout.
const DEMO: &[&str] = &["pinscope", "-v", "capture", "--", "workload", "demo"];

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

/// Sets up, builds, runs.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let purposes: &[setup::For] = if args.host {
        &[setup::For::Build]
    } else {
        &[setup::For::Build, setup::For::Guests]
    };
    setup::ready(purposes)?;
    ebpf::build()?;
    let programs = user::build()?;
    if args.host {
        return on_host(&programs);
    }
    let kernel = kernels::find(&args.kernel, None, false)?;
    sh::progress(&format!(
        "booting a guest with Linux {} (Debian's {})",
        kernel.name, kernel.version
    ));
    // The cached file is to lie on a disk: /mnt is the guest's.
    let mut spec = vm::Spec::new(kernel, &[&["env", "TMPDIR=/mnt"], DEMO].concat());
    spec.files = programs.files();
    spec.timeout = Duration::from_secs(300);
    let outcome = vm::run(&spec, stream::raw_stdout()?, stream::raw_stderr())?;
    sh::progress(&format!(
        "done; the boot took {:.0} s of it",
        outcome.boot.as_secs_f64()
    ));
    Ok(ExitCode::from(outcome.status))
}

/// Runs the same on this machine.
fn on_host(programs: &user::Programs) -> Result<ExitCode> {
    let pinscope = programs
        .pinscope
        .as_ref()
        .context("the sources have no program `pinscope`")?;
    let mut dirs: Vec<PathBuf> = programs
        .files()
        .iter()
        .filter_map(|f| f.host.parent().map(Path::to_path_buf))
        .collect();
    dirs.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let path = std::env::join_paths(dirs).context("a directory's name has a colon in it")?;
    sh::progress("capturing on this machine");
    let status = Command::new(pinscope)
        .args(DEMO.iter().skip(1))
        .env("PATH", path)
        .status()
        .with_context(|| format!("cannot start {}", pinscope.display()))?;
    let code = status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}
