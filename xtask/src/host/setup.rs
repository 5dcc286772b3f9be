//! Installs what this machine lacks for a command.
//!
//! Everything is checked before anything is installed, so that a ready machine loses no time and
//! needs neither network nor privileges.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::tool::Tool;
use crate::host::{
    bpf_toolchain, cargo_tools, deploy_tools, ebpf_build, private_apt, process, progress,
};

/// The static busybox of this machine, which guests get too.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// What a command needs the machine for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building the kernel side and the tool.
    Build,
    /// Checking format and lints.
    Checks,
    /// Booting guests.
    Guests,
    /// Trying the packages in a Debian of their own.
    Packages,
    /// Checking the chart and the manifests.
    Deploy,
    /// Running a tool here or in a guest.
    Tool(Tool),
}

/// Makes the machine ready for these purposes.
pub(crate) fn ready(purposes: &[Purpose]) -> Result<()> {
    let packages = missing(purposes)?;
    if !packages.is_empty() {
        apt_install(&packages)?;
        let still = missing(purposes)?;
        if !still.is_empty() {
            bail!(
                "apt-get succeeded, but the files of {} are still missing: reinstall these packages",
                join(&still)
            );
        }
    }
    if purposes.contains(&Purpose::Build) {
        cargo_tools::ensure_linker()?;
    }
    if purposes.contains(&Purpose::Checks) {
        cargo_tools::ensure_checkers()?;
    }
    Ok(())
}

/// The packages whose files this machine lacks.
fn missing(purposes: &[Purpose]) -> Result<BTreeSet<&'static str>> {
    let mut packages = BTreeSet::new();
    let mut need = |there: bool, names: &[&'static str]| {
        if !there {
            packages.extend(names);
        }
    };
    let program = |name: &str| process::which(name).is_some();
    if purposes.contains(&Purpose::Build) {
        need(program("cc"), &["gcc", "libc6-dev"]);
        need(
            bpf_toolchain::find()?.is_some(),
            &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
        );
        if !ebpf_build::linker()?.is_file() {
            let llvm = Path::new("/usr/lib").join(format!("llvm-{}", bpf_toolchain::LLVM));
            need(
                llvm.join("include/llvm-c/Core.h").is_file(),
                &["llvm-22-dev"],
            );
            need(llvm.join("lib/libPolly.a").is_file(), &["libpolly-22-dev"]);
            need(Path::new("/usr/include/zstd.h").is_file(), &["libzstd-dev"]);
            need(program("c++"), &["g++"]);
        }
    }
    if purposes.contains(&Purpose::Guests) {
        need(program("qemu-system-x86_64"), &["qemu-system-x86"]);
        need(static_busybox(), &["busybox-static"]);
        need(program("mkfs.ext4"), &["e2fsprogs"]);
        need(program("depmod"), &["kmod"]);
        need(program("xz"), &["xz-utils"]);
        need(program("zstd"), &["zstd"]);
        need(private_apt::keyrings().is_ok(), &["debian-archive-keyring"]);
    }
    for purpose in purposes {
        match purpose {
            Purpose::Tool(tool) => need(
                tool.programs().iter().all(|name| program(name)),
                &[tool.package()],
            ),
            Purpose::Packages => need(program("mmdebstrap"), &["mmdebstrap"]),
            Purpose::Deploy => need(deploy_tools::python_is_ready(), &["python3-venv"]),
            Purpose::Build | Purpose::Checks | Purpose::Guests => {}
        }
    }
    Ok(packages)
}

/// Whether busybox exists and is static: an ELF file without an interpreter.
fn static_busybox() -> bool {
    std::fs::read(BUSYBOX).is_ok_and(|file| file.starts_with(b"\x7fELF") && !has_interpreter(&file))
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
    process::probe("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}

fn apt_install(packages: &BTreeSet<&'static str>) -> Result<()> {
    let list = join(packages);
    if process::which("apt-get").is_none() {
        bail!(
            "files of the Debian packages {list} are missing, and this machine has no apt-get: install this \
             system's equivalents, then run this command again"
        );
    }
    if !is_root() {
        bail!(
            "packages are missing; install them, then run this again:\n  sudo apt-get install -y --no-install-recommends {list}"
        );
    }
    progress::step(&format!("installing {list} (target/logs/apt.log)"));
    let install = |packages: &BTreeSet<&'static str>| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"])
            .args(["-q", "-y", "--no-install-recommends", "install"])
            .args(packages);
        process::logged("apt", &mut command)
    };
    // The package lists may be recent enough; if not, they are read once.
    if install(packages).is_ok() {
        return Ok(());
    }
    progress::step("reading the package lists (target/logs/apt-update.log)");
    let mut update = Command::new("apt-get");
    update.args(["-q", "-o", "Acquire::Retries=3", "update"]);
    if let Err(error) = process::logged("apt-update", &mut update) {
        progress::warn(&format!("{error:#}"));
    }
    let packages = &on_offer(packages);
    install(packages).with_context(|| {
        let list = join(packages);
        format!("installing {list} failed: try `apt-get install {list}` by hand")
    })
}

/// Replaces names that this release of Debian lacks: its stable releases carry a newer rustc as
/// `rustc-web`, its development branch carries only `rustc`.
fn on_offer(packages: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    let offered = |name: &str| process::probe("apt-cache", &["show", name]).is_some();
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
