//! Builds the kernel side for the BPF target.
//!
//! Stable Rust has no core library for that target. The build takes the first of these toolchains
//! that has one or can build one:
//! 1. `PINSCOPE_BPF_RUSTC` and `PINSCOPE_BPF_CARGO`, where set;
//! 2. a rustup nightly with the component rust-src, which builds core from source, unless its LLVM
//!    is newer than the linker's;
//! 3. Debian's rustc with its prebuilt core (package libstd-rust-web-dev-bpf).

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::{paths, process, progress};

/// The path of the built object.
pub(crate) const OBJECT: &str = "target/ebpf/pinscope-probes";

/// The linker's version.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that the linker is built for. It must not be older than the compiler's; rustc 1.95 to
/// 1.97 has LLVM 22.
pub(crate) const LLVM: u32 = 22;

const TARGET: &str = "bpfel-unknown-none";
const BUILD_DIR: &str = "target/ebpf/build";

/// A compiler for the BPF target.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    what: &'static str,
    version: String,
    llvm: Option<u32>,
    rustc: PathBuf,
    cargo: PathBuf,
    /// Whether the core library must be built from source.
    build_std: bool,
}

impl fmt::Display for Toolchain {
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
fn usable(what: &'static str, rustc: PathBuf, cargo: PathBuf) -> Option<Toolchain> {
    let (version, llvm) = versions(&process::probe(&rustc, &["-vV"])?);
    let libraries = process::probe(&rustc, &["--print", "target-libdir", "--target", TARGET])?;
    let prebuilt = std::fs::read_dir(libraries.trim())
        .into_iter()
        .flatten()
        .flatten()
        .any(|e| e.file_name().to_string_lossy().starts_with("libcore-"));
    let sysroot = process::probe(&rustc, &["--print", "sysroot"])?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    (prebuilt || source.is_file()).then_some(Toolchain {
        what,
        version,
        llvm,
        rustc,
        cargo,
        build_std: !prebuilt,
    })
}

fn nightly() -> Option<Toolchain> {
    // `+nightly` could make rustup install a toolchain that is missing.
    let toolchains = process::probe("rustup", &["toolchain", "list"])?;
    toolchains
        .lines()
        .find(|name| name.starts_with("nightly-"))?;
    let sysroot = process::probe("rustc", &["+nightly", "--print", "sysroot"])?;
    let bin = Path::new(sysroot.trim()).join("bin");
    usable("rustup's nightly", bin.join("rustc"), bin.join("cargo"))
}

fn debian() -> Option<Toolchain> {
    usable(
        "Debian's rustc",
        "/usr/bin/rustc".into(),
        "/usr/bin/cargo".into(),
    )
}

/// Returns the toolchain to use, if this machine has one.
pub(crate) fn toolchain() -> Result<Option<Toolchain>> {
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
    let fits = |t: &Toolchain| t.llvm.is_none_or(|llvm| llvm <= LLVM);
    Ok(match nightly() {
        Some(nightly) if fits(&nightly) => Some(nightly),
        other => debian().or(other),
    })
}

/// Returns the path of the linker: `PINSCOPE_BPF_LINKER` where set, else the one in `target/tools`.
pub(crate) fn linker() -> Result<PathBuf> {
    let own = match std::env::var_os("PINSCOPE_BPF_LINKER").filter(|v| !v.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => paths::absolute("target/tools/bin/bpf-linker")?,
    };
    Ok(own)
}

/// Builds the object, and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    let toolchain = toolchain()?.context(
        "no compiler for the BPF target: run `cargo xtask build` on a Debian machine, which installs one; \
         elsewhere run `rustup toolchain install nightly --component rust-src`",
    )?;
    let linker = linker()?;
    if !linker.is_file() {
        bail!(
            "{} is missing: run `cargo xtask build`, which installs it",
            linker.display()
        );
    }
    progress::step(&format!("building the kernel side ({toolchain})"));
    let mut command = Command::new(&toolchain.cargo);
    // aya-ebpf needs an unstable feature (asm_experimental_arch): allowed for this build alone.
    process::clean(&mut command)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1");
    if toolchain.build_std {
        command.arg("-Zbuild-std=core");
    }
    let flags = [
        "-Cdebuginfo=2".to_string(),
        "-Clink-arg=--btf".to_string(),
        format!("-Clinker={}", linker.display()),
    ];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // The linker makes BTF from the debug information, which the workspace's release profile strips.
    for setting in [
        "debug=2",
        "strip=false",
        "lto=\"fat\"",
        "panic=\"abort\"",
        "codegen-units=1",
        "opt-level=3",
        "overflow-checks=false",
        "incremental=false",
    ] {
        command
            .arg("--config")
            .arg(format!("profile.release.{setting}"));
    }
    command.args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "probe-ebpf",
        "--bin",
        "pinscope-probes",
    ]);
    command.args([
        "--features",
        "programs",
        "--target",
        TARGET,
        "--target-dir",
        BUILD_DIR,
    ]);
    process::noisy(&mut command).with_context(|| {
        let hint = match toolchain.llvm {
            Some(llvm) if llvm > LLVM => format!(
                ": its LLVM is {llvm}, but bpf-linker {LINKER_VERSION} here is built for LLVM {LLVM}: set \
                 PINSCOPE_BPF_RUSTC and PINSCOPE_BPF_CARGO to an older nightly's rustc and cargo, or \
                 PINSCOPE_BPF_LINKER to a newer linker"
            ),
            _ => String::new(),
        };
        format!("the kernel side did not build with {toolchain}{hint}")
    })?;
    let built = Path::new(BUILD_DIR)
        .join(TARGET)
        .join("release/pinscope-probes");
    let object = paths::absolute(OBJECT)?;
    install(&built, &object)?;
    Ok(object)
}

/// Copies the object if it changed, so that an unchanged one doesn't cause a rebuild of the tool.
fn install(built: &Path, object: &Path) -> Result<()> {
    let new = std::fs::read(built).with_context(|| {
        format!(
            "cannot read {}, which the build should have made",
            built.display()
        )
    })?;
    let new = without_debug(&new).context("cannot strip the kernel side")?;
    if std::fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    std::fs::write(object, new).with_context(|| format!("cannot write {}", object.display()))
}

/// Removes the debug information, which is most of the object. The source lines in the verifier's
/// log come from BTF.
fn without_debug(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut builder = object::build::elf::Builder::read(bytes)?;
    for section in &mut builder.sections {
        let name: &[u8] = &section.name;
        section.delete = [&b".debug_"[..], b".rel.debug_"]
            .iter()
            .any(|debug| name.starts_with(debug));
    }
    // The compiler puts the sections' names into the symbols' string table; the builder wants a
    // table for them.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = object::build::elf::SectionData::SectionString;
    builder.delete_orphans();
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
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
