//! `cargo xtask check`: `cargo check` of both sides, each for its own target.
//!
//! It is what an editor runs (see `docs/editor.md`): a plain `cargo check` can't check the BPF
//! programs, which build for another target by another compiler.

use std::process::ExitCode;

use anyhow::Result;

use crate::host::{ebpf_build, process};

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The format of cargo's messages, which go to stdout unless it is `human`
    #[arg(long, default_value = "human", value_name = "FORMAT")]
    message_format: String,
}

/// Checks the workspace, then the BPF programs. Neither needs the other to pass.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut command = process::cargo();
    command
        .args([
            "check",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--keep-going",
        ])
        .args(["--features", "pinscope/otlp"])
        .arg(format!("--message-format={}", args.message_format));
    let user = process::passed_through(&mut command);
    let kernel = ebpf_build::check(&args.message_format);
    user.and(kernel)?;
    Ok(ExitCode::SUCCESS)
}
