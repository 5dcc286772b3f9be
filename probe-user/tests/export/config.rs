//! Settings from flags, environment and file.

use std::path::Path;

use clap::CommandFactory;
use pinscope::cli::{Cli, may_be_in_file};

use crate::support::*;

/// Runs `export --check-config`, and returns its exit status and stderr.
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
fn flags_take_precedence_over_the_environment_and_that_over_the_file() {
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
fn an_invalid_configuration_is_explained_and_exits_with_2() {
    for (flags, file, word) in [
        (&["--listen", "0.0.0.0:9723"][..], None, "--allow-remote"),
        (&["--listen", "nowhere"], None, "invalid"),
        (&["--cgroups", "100000"], None, "0..=200"),
        (&["--max-series", "1"], None, "100..=100000"),
        (&["--config", "/nonexistent"], None, "/nonexistent"),
        (&["--web-config", "/nonexistent"], None, "/nonexistent"),
        (&[], Some("lisen = \"127.0.0.1:1\""), "no option lisen"),
        (&[], Some("verbose = 1"), "listen, allow_remote, web_config"),
        (&[], Some("listen = 5"), "must be a string"),
        (&[], Some("cgroups = \"5\""), "must be an integer"),
        (&[], Some("self_cost = 1"), "must be true or false"),
        (&[], Some("hook = \"notifier_end=on\""), "array of strings"),
        (&[], Some("cgroups = 300"), "cgroups = 300: 300 is not in"),
        (&[], Some("web_config = \"\""), "web_config"),
        (&[], Some("attach = \"uprobe\""), "auto, kprobe or fentry"),
        (&[], Some("hook = [\"nosuch=off\"]"), "nosuch"),
        (&["--hook", "try_to_unmap=off"], None, "cannot be left out"),
        (&[], Some("hook = [\"write_folio=f\"]"), "is a tracepoint"),
        (&[], Some("on_unsupported = \"retry\""), "exit or serve"),
        (&["--log-format", "xml"], None, "possible values"),
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
fn the_shipped_configuration_is_valid() {
    let shipped = Path::new(ROOT).join("deploy/packages/pinscope.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let (code, said) = check(&[], Some(&text), &[]);
    assert_eq!(code, Some(0), "{said}");
    // Its commented lines are options with their default values.
    let keys: String = text
        .lines()
        .filter_map(|l| l.strip_prefix('#'))
        .filter(|l| l.contains(" = ") && !l.starts_with(' ') && !l.starts_with("web_config"))
        .filter(|l| !l.starts_with("otlp"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(keys.lines().count(), 11, "{keys}");
    let (with, without) = (check(&[], Some(&keys), &[]), check(&[], None, &[]));
    assert_eq!(with, without, "{keys}");
}

/// Three different values of an option, as the file and as a flag have them.
fn samples(id: &str, dir: &Path) -> Option<[String; 3]> {
    let web = |name: &str| {
        let path = dir.join(name);
        std::fs::write(&path, "basic_auth_users: {}\n").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let values = match id {
        "listen" => ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"],
        "allow_remote" | "self_cost" | "lock_memory" => ["true", "false", "true"],
        "on_unsupported" => ["serve", "exit", "serve"],
        "log_format" => ["json", "text", "json"],
        "web_config" => return Some([web("a.yml"), web("b.yml"), web("c.yml")]),
        "cgroups" => ["1", "2", "3"],
        "max_series" => ["101", "102", "103"],
        "interval" | "otlp_interval" => ["2s", "3s", "4s"],
        "attach" => ["kprobe", "fentry", "auto"],
        "hook" => ["notifier_end=on", "notifier_end=off", "remove_mapping=off"],
        "otlp_protocol" => ["grpc", "http/protobuf", "grpc"],
        "otlp" => ["http://a/", "http://b/", "http://c/"],
        _ => return None,
    };
    Some(values.map(str::to_owned))
}

#[test]
fn every_option_comes_from_the_file_the_environment_or_a_flag() {
    let dir = tempfile::tempdir().unwrap();
    let command = Cli::command();
    let export = command.find_subcommand("export").unwrap();
    let mut in_file = 0;
    for arg in export.get_arguments() {
        let id = arg.get_id().as_str();
        if !may_be_in_file(arg) {
            let (code, said) = check(&[], Some(&format!("{id} = true\n")), &[]);
            assert_eq!(code, Some(2), "{id}: {said}");
            let flag = format!(
                "cannot be set in the file: use --{}",
                arg.get_long().unwrap()
            );
            assert!(said.contains(&flag), "{said}");
            continue;
        }
        in_file += 1;
        let samples = samples(id, dir.path());
        let [file, variable, flag] = samples.unwrap_or_else(|| panic!("no samples of {id}"));
        let written = |value: &str| match id {
            "allow_remote" | "self_cost" | "lock_memory" | "cgroups" | "max_series" => {
                format!("{id} = {value}\n")
            }
            "hook" => format!("{id} = [{value:?}]\n"),
            _ => format!("{id} = {value:?}\n"),
        };
        let name = arg.get_env().unwrap().to_str().unwrap();
        assert_eq!(name, format!("PINSCOPE_{}", id.to_uppercase()));
        let flags = [format!("--{}={flag}", arg.get_long().unwrap())];
        let flags = [flags[0].as_str()];
        let environment = [(name, variable.as_str())];
        let text = written(&file);
        for (flags, environment, value) in [
            (&[][..], &[][..], &file),
            (&[], &environment, &variable),
            (&flags, &environment, &flag),
            (&flags, &[], &flag),
        ] {
            let (code, said) = check(flags, Some(&text), environment);
            assert_eq!(code, Some(0), "{id}: {said}");
            let line = written(value);
            let shown = said.lines().any(|l| l.trim() == line.trim());
            assert!(shown, "{line} not in {said}");
        }
    }
    assert!(in_file >= 9, "{in_file} options");
}

#[test]
fn a_list_in_the_environment_is_separated_by_commas() {
    let hooks = [("PINSCOPE_HOOK", "notifier_end=on,remove_mapping=off")];
    let (code, said) = check(&[], None, &hooks);
    assert_eq!(code, Some(0), "{said}");
    let line = "hook = [\"notifier_end=on\", \"remove_mapping=off\"]";
    assert!(said.contains(line), "{said}");
}

#[test]
fn an_error_names_the_source_of_the_value() {
    let soon = [("PINSCOPE_INTERVAL", "soon")];
    let (code, said) = check(&[], None, &soon);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("variable PINSCOPE_INTERVAL"), "{said}");
    let (_, said) = check(&["--interval", "later"], None, &soon);
    assert!(
        said.contains("later") && !said.contains("PINSCOPE_INTERVAL"),
        "{said}"
    );
    let (_, said) = check(&[], Some("interval = \"soon\""), &[]);
    assert!(
        said.contains("pinscope.toml: interval = \"soon\": "),
        "{said}"
    );
}

/// Hooks are checked without privileges, and wherever they are given.
#[test]
fn a_hook_that_cannot_work_is_an_error() {
    let file = |hook: &str| format!("hook = [\"{hook}\"]\n");
    for (hook, word) in [
        ("try_to_unmap=off", "try_to_unmap cannot be left out"),
        ("write_folio=other", "write_folio is a tracepoint"),
        ("page_ref_freeze=other", "page_ref_freeze is a tracepoint"),
        ("unmap=off", "no hook is called unmap"),
        ("migration=on", "no hook is called migration"),
        ("notifier_end=a-b", "a-b is not a symbol"),
    ] {
        for (code, said) in [
            check(&["--hook", hook], None, &[]),
            check(&[], None, &[("PINSCOPE_HOOK", hook)]),
            check(&[], Some(&file(hook)), &[]),
        ] {
            assert_eq!(code, Some(2), "{hook}: {said}");
            assert!(said.contains(word), "{word} not in {said}");
        }
    }
    for hook in ["write_folio=off", "try_to_unmap=other", "notifier_end=on"] {
        let (code, said) = check(&["--hook", hook], None, &[]);
        assert_eq!(code, Some(0), "{said}");
    }
}
