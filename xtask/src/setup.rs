//! Installs what is missing on this machine.
//!
//! Everything is looked for first, so that a ready machine costs nothing and
//! needs neither network nor privileges.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tools_disk::Tool;
use crate::{apt, ebpf, initramfs, sh};

/// The version of cargo-deny that tests run.
const CARGO_DENY: &str = "0.20.2";

/// What a command is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Build the kernel side and the tool.
    Build,
    /// Check the sources' form.
    Checks,
    /// Boot guests.
    Guests,
    /// Try the packages in a Debian of their own.
    Packages,
    /// Have a program of this machine in a guest.
    Tool(Tool),
}

/// Makes the machine ready for these purposes.
pub(crate) fn ready(purposes: &[For]) -> Result<()> {
    let packages = missing(purposes)?;
    if !packages.is_empty() {
        apt_install(&packages)?;
        let still = missing(purposes)?;
        if !still.is_empty() {
            bail!(
                "still missing after installing: what the packages {} bring",
                join(&still)
            );
        }
    }
    if purposes.contains(&For::Build) {
        linker()?;
    }
    if purposes.contains(&For::Checks) {
        checkers()?;
    }
    Ok(())
}

/// The packages whose files are not there.
fn missing(purposes: &[For]) -> Result<BTreeSet<&'static str>> {
    let mut packages = BTreeSet::new();
    let mut need = |there: bool, names: &[&'static str]| {
        if !there {
            packages.extend(names);
        }
    };
    let program = |name: &str| sh::which(name).is_some();
    if purposes.contains(&For::Build) {
        need(program("cc"), &["gcc", "libc6-dev"]);
        need(
            ebpf::toolchain()?.is_some(),
            &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
        );
        if !ebpf::linker()?.is_file() {
            let llvm = Path::new("/usr/lib").join(format!("llvm-{}", ebpf::LLVM));
            need(
                llvm.join("include/llvm-c/Core.h").is_file(),
                &["llvm-22-dev"],
            );
            need(llvm.join("lib/libPolly.a").is_file(), &["libpolly-22-dev"]);
            need(Path::new("/usr/include/zstd.h").is_file(), &["libzstd-dev"]);
            need(program("c++"), &["g++"]);
        }
    }
    if purposes.contains(&For::Guests) {
        need(program("qemu-system-x86_64"), &["qemu-system-x86"]);
        need(static_busybox(), &["busybox-static"]);
        need(program("mkfs.ext4"), &["e2fsprogs"]);
        need(program("depmod"), &["kmod"]);
        need(program("xz"), &["xz-utils"]);
        need(program("zstd"), &["zstd"]);
        need(apt::keyrings().is_ok(), &["debian-archive-keyring"]);
    }
    for purpose in purposes {
        match purpose {
            For::Tool(Tool::Bpftrace) => need(program("bpftrace"), &["bpftrace"]),
            For::Tool(Tool::Tmux) => need(program("tmux"), &["tmux"]),
            For::Tool(Tool::Prometheus) => need(
                program("prometheus") && program("promtool"),
                &["prometheus"],
            ),
            For::Packages => need(program("mmdebstrap"), &["mmdebstrap"]),
            For::Build | For::Checks | For::Guests => {}
        }
    }
    Ok(packages)
}

/// Whether busybox is there and needs no libraries (an ELF file without an
/// interpreter).
fn static_busybox() -> bool {
    std::fs::read(initramfs::BUSYBOX)
        .is_ok_and(|file| file.starts_with(b"\x7fELF") && !has_interpreter(&file))
}

fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let word = |at: usize, size: usize| -> Option<usize> {
        let bytes = elf.get(at..at + size)?;
        let value = bytes
            .iter()
            .rev()
            .fold(0_u64, |sum, b| (sum << 8) | u64::from(*b));
        usize::try_from(value).ok()
    };
    let headers = || Some((word(32, 8)?, word(54, 2)?, word(56, 2)?));
    let Some((start, size, count)) = headers() else {
        return false;
    };
    (0..count).any(|n| word(start + n * size, 4) == usize::try_from(PT_INTERP).ok())
}

fn join(names: &BTreeSet<&'static str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(" ")
}

fn is_root() -> bool {
    sh::probe("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}

fn apt_install(packages: &BTreeSet<&'static str>) -> Result<()> {
    let list = join(packages);
    if sh::which("apt-get").is_none() {
        bail!(
            "this machine lacks what the Debian packages {list} bring: install their like, then run this again"
        );
    }
    if !is_root() {
        bail!(
            "packages are missing; install them, then run this again:\n  sudo apt-get install -y --no-install-recommends {list}"
        );
    }
    sh::progress(&format!("installing {list} (target/logs/apt.log)"));
    let install = |packages: &BTreeSet<&'static str>| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"])
            .args(["-q", "-y", "--no-install-recommends", "install"])
            .args(packages);
        sh::logged("apt", &mut command)
    };
    // The lists may be new enough already; where not, they are read once.
    if install(packages).is_ok() {
        return Ok(());
    }
    sh::progress("reading the package lists (target/logs/apt-update.log)");
    let mut update = Command::new("apt-get");
    update.args(["-q", "-o", "Acquire::Retries=3", "update"]);
    if let Err(error) = sh::logged("apt-update", &mut update) {
        sh::warn(&format!("{error:#}"));
    }
    let packages = &on_offer(packages);
    install(packages).with_context(|| {
        let list = join(packages);
        format!("installing {list} failed: try `apt-get install {list}` by hand")
    })
}

/// Debian's stable releases carry a newer rustc as `rustc-web`; its development
/// branch has just `rustc`.
fn on_offer(packages: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    let offered = |name: &str| sh::probe("apt-cache", &["show", name]).is_some();
    packages
        .iter()
        .map(|name| match *name {
            "rustc-web" if !offered(name) => "rustc",
            "cargo-web" if !offered(name) => "cargo",
            "libstd-rust-web-dev-bpf" if !offered(name) => "libstd-rust-dev-bpf",
            name => name,
        })
        .collect()
}

/// Adds rustfmt and clippy, where rustup's profile left them out.
fn checkers() -> Result<()> {
    let there = |name: &str| {
        let mut command = sh::cargo();
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
    if sh::which("rustup").is_none() {
        bail!(
            "rustfmt or clippy is missing: install them (Debian's packages rustfmt and rust-clippy)"
        );
    }
    sh::progress("installing rustfmt and clippy (target/logs/rustup.log)");
    sh::logged(
        "rustup",
        Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]),
    )
}

/// Installs the BPF linker into `target/tools`.
fn linker() -> Result<()> {
    if ebpf::linker()?.is_file() {
        return Ok(());
    }
    let version = ebpf::LINKER_VERSION;
    sh::progress(&format!(
        "building bpf-linker {version}, once, in about two minutes (target/logs/bpf-linker.log)"
    ));
    let mut command = install("bpf-linker", version);
    command
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{}", ebpf::LLVM),
        ])
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{}", ebpf::LLVM));
    sh::logged("bpf-linker", &mut command).context(
        "bpf-linker did not build: PINSCOPE_BPF_LINKER can name one that was installed otherwise",
    )
}

/// The cargo-deny to run, installed where it is missing.
pub(crate) fn cargo_deny() -> Result<std::path::PathBuf> {
    subcommand("cargo-deny", CARGO_DENY)
}

/// A cargo subcommand to run, installed into `target/tools` where it is missing.
pub(crate) fn subcommand(name: &str, version: &str) -> Result<std::path::PathBuf> {
    let program = sh::absolute(format!("target/tools/bin/{name}"))?;
    let there = sh::probe(&program, &["--version"])
        .is_some_and(|said| said.split_whitespace().any(|word| word == version));
    if !there {
        sh::progress(&format!(
            "building {name} {version}, once, in a minute or two (target/logs/{name}.log)"
        ));
        // Without optimisation: it runs for a second, and its build is what takes long.
        sh::logged(name, install(name, version).arg("--debug"))?;
    }
    Ok(program)
}

fn install(name: &str, version: &str) -> Command {
    let mut command = sh::cargo();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(has_interpreter(&own), "a test binary is linked dynamically");
        assert!(!has_interpreter(b"\x7fELF"));
    }
}
