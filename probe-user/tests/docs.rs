//! What the docs quote is what the program prints. `PINSCOPE_DOCS=write cargo test docs_`
//! rewrites the quotations; read the difference before it is committed.

// clippy.toml allows these in tests, and takes the helpers beside them for something else.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use assert_cmd::Command;

/// The lines of the report that README shows.
const LINES: usize = 25;

/// Compares a file with its wanted text, or rewrites the file with `PINSCOPE_DOCS=write`.
fn compare(path: &Path, text: &str, wanted: &str, what: &str) {
    if std::env::var_os("PINSCOPE_DOCS").is_some_and(|v| v == "write") {
        fs::write(path, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "{} {what}: run `cargo xtask sync`",
            path.display()
        );
    }
}

#[test]
fn docs_numbers_lists_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/numbers.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- metrics:").unwrap();
    let (note, rest) = rest.split_once("-->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of metrics -->").unwrap();
    let tables = pinscope::render::metrics::reference();
    let wanted =
        format!("{before}<!-- metrics:{note}-->\n\n{tables}\n<!-- end of metrics -->{after}");
    compare(&path, &text, &wanted, "lists old metrics");
}

#[test]
fn docs_readme_shows_the_beginning_of_a_real_report() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = Command::cargo_bin("pinscope")
        .unwrap()
        .arg("report")
        .arg(root.join("docs/demo.pscope"))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let report = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<&str> = report.lines().take(LINES).collect();
    let path = root.join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- report:").unwrap();
    let (note, rest) = rest.split_once("-->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of report -->").unwrap();
    let wanted = format!(
        "{before}<!-- report:{note}-->\n```\n{}\n```\n<!-- end of report -->{after}",
        lines.join("\n")
    );
    compare(&path, &text, &wanted, "quotes an old report");
}
