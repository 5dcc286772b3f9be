//! Files of the repository, and the programs that check them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// Returns the path of a file of the repository.
pub(crate) fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// Returns the text of a file of the repository.
pub(crate) fn text(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Parses all YAML documents of a text.
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|e| panic!("{e}"));
    all.into_iter().filter(|v| !v.is_null()).collect()
}

/// Returns the document of a kind, of which there must be one.
pub(crate) fn kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let mut found = documents.iter().filter(|d| d["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "two of kind {kind}");
    one
}

/// Returns a program that `cargo xtask test` installs, or `None` without it.
fn installed(variable: &str, what: &str) -> Option<Command> {
    let program = std::env::var_os(variable);
    if program.is_none() {
        eprintln!("skipped: {variable} names no {what}; `cargo xtask test --only host` sets it");
    }
    program.map(Command::new)
}

/// Returns Helm.
pub(crate) fn helm() -> Option<Command> {
    installed("PINSCOPE_HELM", "Helm")
}

/// Validates manifests against the schemas of the oldest Kubernetes that the chart allows, and of the
/// newest that the validator has. Kinds of the Prometheus operator have no schema there.
pub(crate) fn validate(manifests: &str, what: &str) {
    let Some(mut python) = installed("PINSCOPE_KUBERNETES_VALIDATE", "kubernetes-validate") else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), manifests).unwrap();
    python.args(["-m", "kubernetes_validate", "--strict"]);
    for version in [&[][..], &["-k", "1.25"]] {
        let mut command = Command::new(python.get_program());
        command.args(python.get_args()).args(version);
        let output = command.arg(file.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {said}");
        for line in said.lines().filter(|l| l.contains("find schema")) {
            assert!(line.contains("monitoring.coreos.com"), "{what}: {line}");
        }
        assert!(said.contains("passed for resource"), "{what}: {said}");
    }
}

/// Runs `pinscope ARGUMENTS --check-config` with these variables.
pub(crate) fn check_config(arguments: &[String], environment: &[(String, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinscope"));
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("PINSCOPE_")) {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .arg("--check-config")
        .envs(environment.iter().map(|(n, v)| (n, v)))
        .output()
        .unwrap()
}

/// Returns the arguments of the one container of a DaemonSet. The paths of the web configuration are
/// those of `web`, which takes the place of the mounted secret.
pub(crate) fn arguments(daemonset: &Value, web: Option<&Path>) -> Vec<String> {
    let container = container(daemonset);
    let mounted = |path: &str| match web {
        Some(web) => path.replace("/etc/pinscope/web", web.to_str().unwrap()),
        None => path.to_owned(),
    };
    container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| mounted(word.as_str().unwrap()))
        .collect()
}

/// Returns the one container of a DaemonSet.
pub(crate) fn container(daemonset: &Value) -> &Value {
    let containers = &daemonset["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
    &containers[0]
}

/// Fails unless the output is that of a valid configuration.
pub(crate) fn accepted(output: &Output, what: &str) {
    assert!(
        output.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
