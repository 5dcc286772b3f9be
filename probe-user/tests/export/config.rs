//! Flags, environment and file.

use std::path::Path;

use crate::support::*;

pub(crate) fn check(
    flags: &[&str],
    file: Option<&str>,
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(flags);
    if let Some(text) = file {
        let path = dir.path().join("pinscope.toml");
        std::fs::write(&path, text).unwrap();
        command.arg("--config").arg(path);
    }
    let out = command
        .arg("--check-config")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(out.stdout.is_empty());
    (out.status.code(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let file = Some("listen = \"127.0.0.1:1\"\ncgroups = 1\n");
    let (code, said) = check(&[], file, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("127.0.0.1:1\"") && said.contains("cgroups = 1"),
        "{said}"
    );
    let environment = [
        ("PINSCOPE_LISTEN", "127.0.0.1:2"),
        ("PINSCOPE_CGROUPS", "2"),
    ];
    let (_, said) = check(&[], file, &environment);
    assert!(
        said.contains("127.0.0.1:2\"") && said.contains("cgroups = 2"),
        "{said}"
    );
    let (_, said) = check(&["--listen", "127.0.0.1:3"], file, &environment);
    assert!(
        said.contains("127.0.0.1:3\"") && said.contains("cgroups = 2"),
        "{said}"
    );
}

#[test]
fn a_bad_configuration_is_told_of_and_ends_with_2() {
    for (flags, file, word) in [
        (&["--listen", "0.0.0.0:9723"][..], None, "--allow-remote"),
        (&["--listen", "nowhere"], None, "invalid"),
        (&["--cgroups", "100000"], None, "at most 200"),
        (&["--max-series", "1"], None, "max_series"),
        (&["--config", "/nonexistent"], None, "/nonexistent"),
        (&["--web-config", "/nonexistent"], None, "/nonexistent"),
        (&[], Some("lisen = \"127.0.0.1:1\""), "lisen"),
        (&[], Some("listen = 5"), "string"),
        (&[], Some("attach = \"uprobe\""), "auto, kprobe or fentry"),
        (&[], Some("hook = [\"nosuch=off\"]"), "nosuch"),
        (&[], Some("interval = \"soon\""), "soon"),
        (&[], Some("listen = \"[::]:1\""), "allow_remote"),
        (&[], Some("= ="), "TOML"),
    ] {
        let (code, said) = check(flags, file, &[]);
        assert_eq!(code, Some(2), "{flags:?} {file:?}: {said}");
        assert!(said.contains(word), "{word} not in {said}");
    }
    let (code, said) = check(&["--listen", "0.0.0.0:1", "--allow-remote"], None, &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_configuration_that_ships_is_good() {
    let shipped = Path::new(ROOT).join("deploy/packages/pinscope.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let (code, said) = check(&[], Some(&text), &[]);
    assert_eq!(code, Some(0), "{said}");
    // Its commented keys are keys, and their values what is built in.
    let keys: String = text
        .lines()
        .filter_map(|l| l.strip_prefix('#'))
        .filter(|l| l.contains(" = ") && !l.starts_with(' ') && !l.starts_with("web_config"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(keys.lines().count(), 8, "{keys}");
    let (with, without) = (check(&[], Some(&keys), &[]), check(&[], None, &[]));
    assert_eq!(with, without, "{keys}");
}
