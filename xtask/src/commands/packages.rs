//! `cargo xtask packages`: the Debian and the RPM package, made from the release binary.
//! `probe-user/Cargo.toml` lists their files.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::host::setup::{self, Purpose};
use crate::host::{cargo_tools, ebpf_build, paths, process, user_build};

/// The packagers, in the versions whose metadata keys `probe-user/Cargo.toml` uses.
const CARGO_DEB: (&str, &str) = ("cargo-deb", "3.8.0");
const CARGO_GENERATE_RPM: (&str, &str) = ("cargo-generate-rpm", "0.21.1");

/// The directory of the packages.
const DIR: &str = "target/packages";

/// Builds both, and prints their paths.
pub(crate) fn run() -> Result<ExitCode> {
    setup::ready(&[Purpose::Build])?;
    ebpf_build::build()?;
    let binary = user_build::dist()?;
    for package in build(&binary)? {
        println!("{}", package.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Packages an existing binary, and returns the paths of both packages.
pub(crate) fn build(binary: &Path) -> Result<[PathBuf; 2]> {
    extras(binary)?;
    paths::create_dir(DIR)?;
    let deb = cargo_tools::subcommand(CARGO_DEB.0, CARGO_DEB.1)?;
    let deb_file = paths::absolute(format!("{DIR}/pinscope.deb"))?;
    process::logged(
        "deb",
        Command::new(deb)
            .args(["-p", "pinscope", "--no-build", "-o"])
            .arg(&deb_file),
    )?;
    let rpm = cargo_tools::subcommand(CARGO_GENERATE_RPM.0, CARGO_GENERATE_RPM.1)?;
    let rpm_file = paths::absolute(format!("{DIR}/pinscope.rpm"))?;
    process::logged(
        "rpm",
        Command::new(rpm)
            .args(["-p", "probe-user", "-o"])
            .arg(&rpm_file),
    )?;
    Ok([deb_file, rpm_file])
}

/// Makes the man page and the completions by running the binary.
fn extras(binary: &Path) -> Result<()> {
    let dist = Path::new("target/dist");
    let page = dist.join("pinscope.1");
    write(&page, &process::output(Command::new(binary).arg("man"))?)?;
    process::output(Command::new("gzip").args(["-9nf"]).arg(&page))?;
    for shell in ["bash", "zsh", "fish"] {
        let script = process::output(Command::new(binary).args(["completions", shell]))?;
        write(&dist.join(format!("pinscope.{shell}")), &script)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
