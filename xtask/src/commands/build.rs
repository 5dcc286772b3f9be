//! `cargo xtask build`: the kernel side and the static binaries.

use std::process::ExitCode;

use anyhow::Result;

use crate::guest::files;
use crate::host::setup::{self, Purpose};
use crate::host::{ebpf_build, user_build};

/// Builds both sides, and prints the paths.
pub(crate) fn run() -> Result<ExitCode> {
    setup::ready(&[Purpose::Build])?;
    let object = ebpf_build::build()?;
    let programs = user_build::build()?;
    println!("{}", object.display());
    for file in files::of_programs(&programs) {
        println!("{}", file.host.display());
    }
    Ok(ExitCode::SUCCESS)
}
