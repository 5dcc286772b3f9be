//! `cargo xtask dist`: the static release binary.

use std::process::ExitCode;

use anyhow::Result;

use crate::host::setup::{self, Purpose};
use crate::host::{ebpf_build, user_build};

/// Builds the release binary, and prints its path.
pub(crate) fn run() -> Result<ExitCode> {
    setup::ready(&[Purpose::Build])?;
    ebpf_build::build()?;
    println!("{}", user_build::dist()?.display());
    Ok(ExitCode::SUCCESS)
}
