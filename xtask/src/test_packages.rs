//! The packages, built from what the guest tests use and tried in a Debian with systemd.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::apt;
use crate::initramfs::GuestFile;
use crate::kernels::Kernel;
use crate::results::Counts;
use crate::stream::{Buffer, Lines};
use crate::user::Programs;
use crate::{packages, sh, vm};

/// The kernel that they are tried on.
pub(crate) const SERIES: &str = "6.12";
/// The Debian that they are tried in.
const SUITE: &str = "bookworm";
/// What it has beside the least.
const WITH: &str = "systemd,systemd-sysv,curl,rpm";

/// Builds the packages, and tries them in a guest.
pub(crate) fn run(kernel: Kernel, programs: &Programs) -> Result<Counts> {
    let built = programs
        .pinscope
        .as_ref()
        .context("no pinscope was built")?;
    let binary = sh::absolute("target/dist/pinscope")?;
    sh::create_dir("target/dist")?;
    std::fs::copy(built, &binary).context("cannot copy the binary")?;
    let [deb, rpm] = packages::build(&binary)?;
    let debian = match debian() {
        Ok(tar) => tar,
        Err(error) => {
            // mmdebstrap wants more of a machine than qemu does: mounts, or user namespaces.
            sh::warn(&format!(
                "the packages are built, but not tried: no Debian could be made for that: {error:#}"
            ));
            return Ok(Counts::SKIPPED);
        }
    };
    let mut spec = vm::Spec::new(kernel, &["sh", "-c", include_str!("guest/packages.sh")]);
    spec.files = programs.files();
    for (host, guest) in [
        (debian, "/debian.tar"),
        (deb, "/pinscope.deb"),
        (rpm, "/pinscope.rpm"),
    ] {
        spec.files.push(GuestFile {
            host,
            guest: guest.into(),
        });
    }
    spec.memory_mib = 3072;
    let kept = Buffer::default();
    let outcome = vm::run(
        &spec,
        Box::new(Lines::new("packages| ", kept.clone())),
        Box::new(Lines::new("packages| ", Buffer::default())),
    )?;
    Ok(Counts::of_run(&kept.text(), outcome.status == 0))
}

/// A small Debian, kept for a month.
fn debian() -> Result<PathBuf> {
    let tar = sh::absolute(Path::new("target/vm").join(format!("{SUITE}.tar")))?;
    let month = Duration::from_secs(30 * 24 * 3600);
    let fresh = std::fs::metadata(&tar)
        .and_then(|m| m.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < month));
    if !fresh {
        sh::progress(&format!(
            "making a small Debian to install the packages in (target/logs/{SUITE}.log)"
        ));
        sh::create_dir("target/vm")?;
        let new = tar.with_extension("new.tar");
        sh::logged(
            SUITE,
            Command::new("mmdebstrap")
                .args(["--variant=minbase", &format!("--include={WITH}"), SUITE])
                .arg(&new)
                .arg(apt::mirror()?),
        )?;
        std::fs::rename(&new, &tar).context("cannot move the small Debian")?;
    }
    Ok(tar)
}
