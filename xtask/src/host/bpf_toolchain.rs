//! The toolchain for the BPF target.
//!
//! Stable Rust has no core library for that target. The first of these toolchains that has one, or
//! can build one, is taken:
//! 1. `PINSCOPE_BPF_RUSTC` and `PINSCOPE_BPF_CARGO`, where set;
//! 2. a rustup nightly with the component rust-src, which builds core from source, unless its LLVM
//!    is newer than the linker's;
//! 3. Debian's rustc with its prebuilt core (package libstd-rust-web-dev-bpf).

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::process;

/// The target's name, which is also that of its directory in a target directory.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The LLVM that the linker is built for. It must not be older than the compiler's; rustc 1.95 to
/// 1.97 has LLVM 22.
pub(crate) const LLVM: u32 = 22;

/// A compiler for the BPF target, and its cargo.
#[derive(Debug, Clone)]
pub(crate) struct BpfToolchain {
    what: &'static str,
    version: String,
    /// The major version of its LLVM.
    pub(crate) llvm: Option<u32>,
    rustc: PathBuf,
    cargo: PathBuf,
    /// Whether the core library must be built from source.
    build_std: bool,
}

impl BpfToolchain {
    /// Returns a cargo command for the BPF programs; its caller adds flags, a target directory and
    /// so on.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        // aya-ebpf needs an unstable feature (asm_experimental_arch), which RUSTC_BOOTSTRAP allows:
        // for this command alone.
        process::clean(&mut command)
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .arg(subcommand);
        if self.build_std {
            command.arg("-Zbuild-std=core");
        }
        command.args(["--package", "probe-ebpf", "--bin", "pinscope-probes"]);
        command.args(["--features", "programs", "--target", TARGET]);
        command
    }
}

impl fmt::Display for BpfToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.version)
    }
}

/// Parses `rustc -vV`: the version, and the LLVM.
fn versions(text: &str) -> (String, Option<u32>) {
    let field = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name))
            .map(str::trim)
    };
    let llvm = field("LLVM version:").and_then(|v| v.split('.').next()?.parse().ok());
    (
        field("release:")
            .unwrap_or("of unknown version")
            .to_string(),
        llvm,
    )
}

/// Returns this toolchain if it has the target's core library, or the source to build it.
fn usable(what: &'static str, rustc: PathBuf, cargo: PathBuf) -> Option<BpfToolchain> {
    let (version, llvm) = versions(&process::probe(&rustc, &["-vV"])?);
    let libraries = process::probe(&rustc, &["--print", "target-libdir", "--target", TARGET])?;
    let prebuilt = std::fs::read_dir(libraries.trim())
        .into_iter()
        .flatten()
        .flatten()
        .any(|e| e.file_name().to_string_lossy().starts_with("libcore-"));
    let sysroot = process::probe(&rustc, &["--print", "sysroot"])?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    (prebuilt || source.is_file()).then_some(BpfToolchain {
        what,
        version,
        llvm,
        rustc,
        cargo,
        build_std: !prebuilt,
    })
}

fn nightly() -> Option<BpfToolchain> {
    // `+nightly` could make rustup install a toolchain that is missing.
    let toolchains = process::probe("rustup", &["toolchain", "list"])?;
    toolchains
        .lines()
        .find(|name| name.starts_with("nightly-"))?;
    let sysroot = process::probe("rustc", &["+nightly", "--print", "sysroot"])?;
    let bin = Path::new(sysroot.trim()).join("bin");
    usable("rustup's nightly", bin.join("rustc"), bin.join("cargo"))
}

fn debian() -> Option<BpfToolchain> {
    usable(
        "Debian's rustc",
        "/usr/bin/rustc".into(),
        "/usr/bin/cargo".into(),
    )
}

/// Finds the toolchain to use, if this machine has one.
pub(crate) fn find() -> Result<Option<BpfToolchain>> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let (Some(rustc), Some(cargo)) = (set("PINSCOPE_BPF_RUSTC"), set("PINSCOPE_BPF_CARGO")) {
        let found = usable("the rustc of PINSCOPE_BPF_RUSTC,", rustc.clone(), cargo);
        if found.is_none() {
            bail!(
                "PINSCOPE_BPF_RUSTC={} has neither a core library for {TARGET} nor its source: unset the \
                 variable, or name a rustc that has one of them",
                rustc.display()
            );
        }
        return Ok(found);
    }
    let fits = |t: &BpfToolchain| t.llvm.is_none_or(|llvm| llvm <= LLVM);
    Ok(match nightly() {
        Some(nightly) if fits(&nightly) => Some(nightly),
        other => debian().or(other),
    })
}

/// Finds the toolchain to use; having none is an error.
pub(crate) fn require() -> Result<BpfToolchain> {
    find()?.context(
        "no compiler for the BPF target: run `cargo xtask build` on a Debian machine, which installs one; \
         elsewhere run `rustup toolchain install nightly --component rust-src`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rustc_says() {
        let text = "rustc 1.96.0 (x)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(versions(text), ("1.96.0".to_string(), Some(22)));
        assert_eq!(versions("").1, None);
    }
}
