//! Programs that cargo or rustup installs: the BPF linker, the checkers, the packagers.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::host::{bpf_toolchain, ebpf_build, paths, process, progress};

/// The version of cargo-deny that tests run.
const CARGO_DENY: &str = "0.20.2";

/// Adds rustfmt and clippy where rustup's profile lacks them.
pub(crate) fn ensure_checkers() -> Result<()> {
    let there = |name: &str| {
        let mut command = process::cargo();
        command
            .args([name, "--version"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if there("fmt") && there("clippy") {
        return Ok(());
    }
    if process::which("rustup").is_none() {
        bail!(
            "rustfmt or clippy is missing: install them (Debian's packages rustfmt and rust-clippy)"
        );
    }
    progress::step("installing rustfmt and clippy (target/logs/rustup.log)");
    process::logged(
        "rustup",
        Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]),
    )
}

/// Installs the BPF linker into `target/tools` where it is missing.
pub(crate) fn ensure_linker() -> Result<()> {
    if ebpf_build::linker()?.is_file() {
        return Ok(());
    }
    let version = ebpf_build::LINKER_VERSION;
    progress::step(&format!(
        "building bpf-linker {version}, once, in about two minutes (target/logs/bpf-linker.log)"
    ));
    let mut command = install("bpf-linker", version);
    command
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{}", bpf_toolchain::LLVM),
        ])
        .env(
            "LLVM_PREFIX",
            format!("/usr/lib/llvm-{}", bpf_toolchain::LLVM),
        );
    process::logged("bpf-linker", &mut command).context(
        "bpf-linker did not build: set PINSCOPE_BPF_LINKER to the path of one installed another way",
    )
}

/// Returns the cargo-deny to run, installed first where it is missing.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    subcommand("cargo-deny", CARGO_DENY)
}

/// Returns a cargo subcommand to run, installed into `target/tools` first where it is missing.
pub(crate) fn subcommand(name: &str, version: &str) -> Result<PathBuf> {
    let program = paths::absolute(format!("target/tools/bin/{name}"))?;
    let there = process::probe(&program, &["--version"])
        .is_some_and(|said| said.split_whitespace().any(|word| word == version));
    if !there {
        progress::step(&format!(
            "building {name} {version}, once, in a minute or two (target/logs/{name}.log)"
        ));
        // A debug build: the program runs for a second, and optimising it takes far longer.
        process::logged(name, install(name, version).arg("--debug"))?;
    }
    Ok(program)
}

fn install(name: &str, version: &str) -> Command {
    let mut command = process::cargo();
    command
        .args([
            "install",
            "--locked",
            "--root",
            "target/tools",
            "--target-dir",
            "target/tools/build",
        ])
        .args([name, "--version", version]);
    command
}
