//! `cargo xtask sync`: makes every file that is a copy of another or is generated from the sources.
//!
//! A chart reads only files within its own directory, so the Helm chart needs copies of the rules
//! and the dashboard. Generated parts of the docs belong to tests of pinscope named `docs_…` and
//! `pictures_…`: such a test compares a file with what it generates, and writes the file instead
//! if `PINSCOPE_DOCS=write` or `PINSCOPE_PICTURES=write` is set.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::host::setup::{self, Purpose};
use crate::host::{ebpf_build, paths, process, progress};

/// Each copy, as original and copy.
const COPIES: &[(&str, &str)] = &[
    (
        "deploy/prometheus/alerts.rules.yml",
        "deploy/helm/pinscope/rules/alerts.rules.yml",
    ),
    (
        "deploy/prometheus/recording.rules.yml",
        "deploy/helm/pinscope/rules/recording.rules.yml",
    ),
    (
        "deploy/grafana/pinscope.json",
        "deploy/helm/pinscope/dashboards/pinscope.json",
    ),
];

/// The directories of the chart that contain nothing but copies.
const COPIES_ONLY: &[&str] = &[
    "deploy/helm/pinscope/rules",
    "deploy/helm/pinscope/dashboards",
];

/// The names of the tests that generate parts of the docs begin with one of these.
const GENERATORS: [&str; 2] = ["docs_", "pictures_"];

/// Makes the copies and the generated parts of the docs.
pub(crate) fn run() -> Result<ExitCode> {
    for (original, copy) in COPIES {
        let text = read(Path::new(original))?;
        if std::fs::read(copy).is_ok_and(|old| old == text) {
            continue;
        }
        progress::step(&format!("copying {original} to {copy}"));
        if let Some(directory) = Path::new(copy).parent() {
            paths::create_dir(directory)?;
        }
        std::fs::write(copy, text).with_context(|| format!("cannot write {copy}"))?;
    }
    check_copies()?;
    setup::ready(&[Purpose::Build])?;
    ebpf_build::build()?;
    progress::step("generating parts of the docs (target/logs/sync.log)");
    let mut command = process::cargo();
    command
        .args(["test", "--quiet", "--package", "pinscope", "--tests", "--"])
        .args(GENERATORS)
        .env("PINSCOPE_DOCS", "write")
        .env("PINSCOPE_PICTURES", "write")
        .env("PINSCOPE_EBPF_OBJECT", paths::absolute(ebpf_build::OBJECT)?);
    process::logged("sync", &mut command)?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if a copy differs from its original, or if a directory of copies contains another file.
pub(crate) fn check_copies() -> Result<()> {
    check_copies_in(Path::new(""))
}

fn check_copies_in(root: &Path) -> Result<()> {
    for (original, copy) in COPIES {
        let text = read(&root.join(original))?;
        if !std::fs::read(root.join(copy)).is_ok_and(|other| other == text) {
            bail!("{copy} is not a copy of {original}: run cargo xtask sync");
        }
    }
    for directory in COPIES_ONLY {
        let entries = std::fs::read_dir(root.join(directory))
            .with_context(|| format!("cannot list {directory}"))?;
        for entry in entries {
            let path = entry
                .with_context(|| format!("cannot list {directory}"))?
                .path();
            if !COPIES.iter().any(|(_, copy)| path == root.join(copy)) {
                bail!(
                    "{} is not one of the copies that cargo xtask sync makes: remove it, or add it to them",
                    path.display()
                );
            }
        }
    }
    Ok(())
}

fn read(original: &Path) -> Result<Vec<u8>> {
    std::fs::read(original).with_context(|| format!("cannot read {}", original.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_differs_and_a_file_that_is_no_copy_are_errors() {
        let root = std::env::temp_dir().join(format!("pinscope-copies-{}", std::process::id()));
        for (original, copy) in COPIES {
            for file in [original, copy] {
                let file = root.join(file);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, "same").unwrap();
            }
        }
        check_copies_in(&root).unwrap();
        let stray = root.join(COPIES_ONLY[0]).join("stray.yml");
        std::fs::write(&stray, "").unwrap();
        let error = check_copies_in(&root).unwrap_err().to_string();
        assert!(
            error.contains("stray.yml is not one of the copies"),
            "{error}"
        );
        std::fs::write(root.join(COPIES[0].0), "changed").unwrap();
        let error = check_copies_in(&root).unwrap_err().to_string();
        assert!(error.ends_with("run cargo xtask sync"), "{error}");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
