//! Builds and checks the kernel side.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::bpf_toolchain::{self, LLVM, TARGET};
use crate::host::{paths, process, progress};

/// The path of the built object.
pub(crate) const OBJECT: &str = "target/ebpf/pinscope-probes";

/// The linker's version.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

const BUILD_DIR: &str = "target/ebpf/build";
const CHECK_DIR: &str = "target/ebpf/check";

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
    let toolchain = bpf_toolchain::require()?;
    let linker = linker()?;
    if !linker.is_file() {
        bail!(
            "{} is missing: run `cargo xtask build`, which installs it",
            linker.display()
        );
    }
    progress::step(&format!("building the kernel side ({toolchain})"));
    let mut command = toolchain.cargo("build");
    command.args(["--quiet", "--release", "--target-dir", BUILD_DIR]);
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

/// Checks the programs without building them. Cargo's messages go to stdout in this format.
pub(crate) fn check(message_format: &str) -> Result<()> {
    let mut command = bpf_toolchain::require()?.cargo("check");
    command
        .args(["--quiet", "--target-dir", CHECK_DIR])
        .arg(format!("--message-format={message_format}"));
    process::passed_through(&mut command)
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
