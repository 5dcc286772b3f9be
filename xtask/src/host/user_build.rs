//! Builds the static binaries: the tool, the workload, and the guest tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::host::{ebpf_build, paths, process, progress};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const DIR: &str = "target/static";

/// The paths of the built programs; `None` for one that the sources lack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs {
    /// The tool.
    pub(crate) pinscope: Option<PathBuf>,
    /// The workload whose memory is reclaimed.
    pub(crate) workload: Option<PathBuf>,
    /// The tests that run inside a guest.
    pub(crate) guest_tests: Option<PathBuf>,
}

/// Returns the package's targets, each as `KIND NAME`.
fn targets() -> Result<BTreeSet<String>> {
    let mut command = process::cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = process::output(&mut command)?;
    let data: Value = serde_json::from_str(&text)
        .context("`cargo metadata` printed something other than JSON")?;
    let mut found = BTreeSet::new();
    for package in list(&data, "packages").filter(|p| p["name"] == "pinscope") {
        for target in list(package, "targets") {
            for kind in list(target, "kind") {
                found.insert(format!(
                    "{} {}",
                    kind.as_str().unwrap_or_default(),
                    target["name"].as_str().unwrap_or_default()
                ));
            }
        }
    }
    Ok(found)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// Builds the tool, the workload and the guest tests in one call of cargo, which compiles their
/// dependencies once.
pub(crate) fn build() -> Result<Programs> {
    let targets = targets()?;
    let mut command = cargo(DIR)?;
    for (target, kind, name) in [
        ("bin pinscope", "--bin", "pinscope"),
        ("example workload", "--example", "workload"),
        ("test guest", "--test", "guest"),
    ] {
        if targets.contains(target) {
            command.args([kind, name]);
        }
    }
    if !targets.contains("bin pinscope") {
        return Ok(Programs::default());
    }
    // Optimising across crates takes minutes: only `dist` does it.
    for setting in ["lto=\"off\"", "codegen-units=16"] {
        command
            .arg("--config")
            .arg(format!("profile.release.{setting}"));
    }
    progress::step("building the static binaries");
    let mut programs = Programs::default();
    for (name, path) in artifacts(&mut command)? {
        match name.as_str() {
            "pinscope" => programs.pinscope = Some(path),
            "workload" => programs.workload = Some(path),
            "guest" => programs.guest_tests = Some(path),
            _ => {}
        }
    }
    Ok(programs)
}

/// Builds the tool by the workspace's release profile, as it is released, and returns its path.
pub(crate) fn dist() -> Result<PathBuf> {
    progress::step("building the release binary");
    let built = artifacts(cargo("target/dist/build")?.args(["--bin", "pinscope"]))?;
    let (_, path) = built
        .into_iter()
        .next()
        .context("the build succeeded, but cargo reported no executable")?;
    let place = paths::absolute("target/dist/pinscope")?;
    std::fs::copy(&path, &place)
        .with_context(|| format!("cannot copy {} to {}", path.display(), place.display()))?;
    Ok(place)
}

/// Returns the programs of the last build, without building.
pub(crate) fn built() -> Programs {
    let release = Path::new(DIR).join(TARGET).join("release");
    let file = |path: PathBuf| path.is_file().then_some(path);
    // A test's file name has a hash: the newest file is the last build's.
    let guest_tests = std::fs::read_dir(release.join("deps"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("guest-") && p.extension().is_none()
        })
        .max_by_key(|p| p.metadata().and_then(|m| m.modified()).ok());
    Programs {
        pinscope: file(release.join("pinscope")),
        workload: file(release.join("examples/workload")),
        guest_tests,
    }
}

fn cargo(dir: &str) -> Result<Command> {
    let mut command = process::cargo();
    command
        .args([
            "build",
            "--quiet",
            "--release",
            "--target",
            TARGET,
            "--target-dir",
            dir,
        ])
        .args([
            "--package",
            "pinscope",
            "--message-format=json-render-diagnostics",
        ])
        // What is shipped has every feature, and what is tested in guests is what is shipped.
        .args(["--features", "otlp"])
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("PINSCOPE_EBPF_OBJECT", paths::absolute(ebpf_build::OBJECT)?);
    Ok(command)
}

/// Runs a cargo command that reports in JSON, and returns the names and paths of the executables.
fn artifacts(command: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", process::shown(command)))?;
    if !out.status.success() {
        bail!(
            "the user side did not build: `{}` failed ({}), see its messages above",
            process::shown(command),
            out.status
        );
    }
    Ok(executables(&String::from_utf8_lossy(&out.stdout)))
}

fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    messages
        .lines()
        .filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let path = message["executable"].as_str()?;
            Some((
                message["target"]["name"].as_str()?.to_string(),
                PathBuf::from(path),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_of_cargos_messages() {
        let text = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"serde\"},\"executable\":null}\n\
                    noise\n\
                    {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"guest\"},\"executable\":\"/t/guest-1\"}\n";
        assert_eq!(
            executables(text),
            [("guest".to_string(), PathBuf::from("/t/guest-1"))]
        );
    }
}
