//! The tests of the packages: built from the guest tests' binary, and tried in a Debian with systemd.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::commands::packages;
use crate::commands::test::results::TestCounts;
use crate::guest;
use crate::guest::files::{self, GuestFile};
use crate::guest::kernels::Kernel;
use crate::guest::machine::Machine;
use crate::guest::stream::{Buffer, Lines};
use crate::host::user_build::Programs;
use crate::host::{paths, private_apt, process, progress};

/// The series of the kernel.
pub(crate) const SERIES: &str = "6.12";
/// The Debian release.
const SUITE: &str = "bookworm";
/// The packages that the Debian has beside a minimal system.
const WITH: &str = "systemd,systemd-sysv,curl,rpm";

/// Builds the packages, and runs their tests in a guest.
pub(crate) fn run(kernel: Kernel, programs: &Programs) -> Result<TestCounts> {
    let built = programs
        .pinscope
        .as_ref()
        .context("the sources have no program `pinscope` to package")?;
    let binary = paths::absolute("target/dist/pinscope")?;
    paths::create_dir("target/dist")?;
    std::fs::copy(built, &binary).context("cannot copy the binary")?;
    let [deb, rpm] = packages::build(&binary)?;
    let debian = match debian() {
        Ok(tar) => tar,
        Err(error) => {
            // mmdebstrap needs mounts or user namespaces, which a machine that runs QEMU may refuse.
            progress::warn(&format!(
                "the packages were built, but not tried, because the Debian for that could not be made: {error:#}"
            ));
            return Ok(TestCounts::SKIPPED);
        }
    };
    let mut machine = Machine::new(kernel, &["sh", "-c", include_str!("packages.sh")]);
    machine.files = files::of_programs(programs);
    for (host, guest) in [
        (debian, "/debian.tar"),
        (deb, "/pinscope.deb"),
        (rpm, "/pinscope.rpm"),
    ] {
        machine.files.push(GuestFile {
            host,
            guest: guest.into(),
        });
    }
    machine.memory_mib = 3072;
    let kept = Buffer::default();
    let exit = guest::run(
        &machine,
        Box::new(Lines::new("packages| ", kept.clone())),
        Box::new(Lines::new("packages| ", Buffer::default())),
    )?;
    Ok(TestCounts::of_run(&kept.text(), exit.status == 0))
}

/// Returns the archive of a small Debian, which is made anew after a month.
fn debian() -> Result<PathBuf> {
    let tar = paths::absolute(Path::new("target/vm").join(format!("{SUITE}.tar")))?;
    let month = Duration::from_secs(30 * 24 * 3600);
    let fresh = std::fs::metadata(&tar)
        .and_then(|m| m.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < month));
    if !fresh {
        progress::step(&format!(
            "making a small Debian for the packages (target/logs/{SUITE}.log)"
        ));
        paths::create_dir("target/vm")?;
        let new = tar.with_extension("new.tar");
        process::logged(
            SUITE,
            Command::new("mmdebstrap")
                .args(["--variant=minbase", &format!("--include={WITH}"), SUITE])
                .arg(&new)
                .arg(private_apt::mirror()?),
        )?;
        std::fs::rename(&new, &tar).context("cannot move the small Debian")?;
    }
    Ok(tar)
}
