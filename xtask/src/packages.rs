//! `cargo xtask packages`: the Debian and the RPM package, from the binary that is handed out.
//! What is in them stands in `probe-user/Cargo.toml`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{ebpf, setup, sh, user};

/// The packagers, with the versions whose keys the metadata uses.
const CARGO_DEB: (&str, &str) = ("cargo-deb", "3.8.0");
const CARGO_GENERATE_RPM: (&str, &str) = ("cargo-generate-rpm", "0.21.1");

/// Where they are put.
const DIR: &str = "target/packages";

/// Builds both, and prints their paths.
pub(crate) fn run() -> Result<ExitCode> {
    setup::ready(&[setup::For::Build])?;
    ebpf::build()?;
    let binary = user::dist()?;
    for package in build(&binary)? {
        println!("{}", package.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Packages a binary that is there.
pub(crate) fn build(binary: &Path) -> Result<[PathBuf; 2]> {
    extras(binary)?;
    sh::create_dir(DIR)?;
    let deb = setup::subcommand(CARGO_DEB.0, CARGO_DEB.1)?;
    let deb_file = sh::absolute(format!("{DIR}/pinscope.deb"))?;
    sh::logged(
        "deb",
        Command::new(deb)
            .args(["-p", "pinscope", "--no-build", "-o"])
            .arg(&deb_file),
    )?;
    let rpm = setup::subcommand(CARGO_GENERATE_RPM.0, CARGO_GENERATE_RPM.1)?;
    let rpm_file = sh::absolute(format!("{DIR}/pinscope.rpm"))?;
    sh::logged(
        "rpm",
        Command::new(rpm)
            .args(["-p", "probe-user", "-o"])
            .arg(&rpm_file),
    )?;
    Ok([deb_file, rpm_file])
}

/// The man page and the completions, from the binary itself.
fn extras(binary: &Path) -> Result<()> {
    let dist = Path::new("target/dist");
    let page = dist.join("pinscope.1");
    write(&page, &sh::output(Command::new(binary).arg("man"))?)?;
    sh::output(Command::new("gzip").args(["-9nf"]).arg(&page))?;
    for shell in ["bash", "zsh", "fish"] {
        let script = sh::output(Command::new(binary).args(["completions", shell]))?;
        write(&dist.join(format!("pinscope.{shell}")), &script)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
