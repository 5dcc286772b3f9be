//! Rules for the sources themselves, read as text: words, file sizes, and the direction of imports.
//!
//! Each test lists every violation as `file:line`, so that one run shows all of them.

// clippy.toml allows these in tests, but doesn't count the helpers beside them as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod imports;
mod rendered;
mod source;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

use imports::Crate;
use source::Source;

/// The longest Rust file: as much as one can read in one sitting.
const MAX_LINES: usize = 500;

/// Circles of imports that are defended, each with its reason. A circle that is gone must be
/// removed from this list.
const DEFENDED: &[(&[&str], &str)] = &[];

/// The rooms of `probe-user/src`, each with the only other rooms that it may import. `commands` is
/// not in the list: it connects all of them.
const ALLOWED: &[(&str, &[&str])] = &[
    ("words", &[]),
    ("snapshot", &["words"]),
    ("recording", &["snapshot", "words"]),
    ("kernel", &["snapshot", "words"]),
    ("model", &["snapshot", "words"]),
    ("render", &["model", "snapshot", "words"]),
    ("tui", &["model", "snapshot", "words", "recording"]),
    ("cli", &["kernel"]),
    ("provoke", &[]),
];

/// What the code of a room must not name: a clock, a file, a socket, a process.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "fs::",
    "env::var",
];
const PURE_ROOMS: &[&str] = &["model", "render", "tui"];

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// Fails if there are violations, and prints all of them.
fn none(rule: &str, mut violations: Vec<String>) {
    violations.sort();
    assert!(
        violations.is_empty(),
        "{rule}: {} found\n{}",
        violations.len(),
        violations.join("\n")
    );
}

#[test]
fn no_retired_phrase_is_in_use() {
    let mut hits = words::in_files(&root());
    hits.extend(rendered::all().iter().flat_map(|(name, text)| {
        words::in_text(name, text, &source::paragraphs(text))
            .into_iter()
            .chain(words::contractions(name, text))
    }));
    none(
        "retired phrases (see docs/glossary.md)",
        words::without_exceptions(&hits),
    );
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    let long = source::rust_files(&root()).into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > MAX_LINES).then(|| format!("{}:{MAX_LINES}: {lines} lines", file.name))
    });
    none("files of more than 500 lines", long.collect());
}

#[test]
fn imports_have_no_circle() {
    let mut violations = Vec::new();
    let mut found = Vec::new();
    for group in crates() {
        for circle in group.circles() {
            let names: Vec<_> = circle.files.iter().map(String::as_str).collect();
            if !DEFENDED.iter().any(|(files, _)| *files == names) {
                violations.push(format!(
                    "{}\n{}",
                    names.join(" <-> "),
                    circle.imports.join("\n")
                ));
            }
            found.push(circle.files);
        }
    }
    let gone = DEFENDED
        .iter()
        .filter(|(files, _)| !found.iter().any(|f| f == files));
    violations
        .extend(gone.map(|(files, reason)| format!("no longer a circle: {files:?} ({reason})")));
    none("circles of imports", violations);
}

#[test]
fn imports_go_one_way() {
    let mut violations = Vec::new();
    let group = Crate::read(&root(), "probe-user/src", "lib.rs", &["main.rs"]);
    for import in group.imports() {
        let (from, to) = (room(&import.from), room(&import.to));
        let forbidden = ALLOWED
            .iter()
            .any(|(room, others)| *room == from && to != from && !others.contains(&to));
        if forbidden {
            violations.push(import.to_string());
        }
    }
    none("imports in the wrong direction", violations);
}

#[test]
fn models_and_renderers_read_no_clock_and_no_file() {
    let mut violations = Vec::new();
    for file in source::rust_files(&root()) {
        if !PURE_ROOMS.contains(&room(&file.name)) {
            continue;
        }
        let code = file.code_without_tests();
        for (number, line) in code.lines().enumerate() {
            for word in IMPURE.iter().filter(|w| line.contains(**w)) {
                violations.push(format!("{}:{}: {word}", file.name, number + 1));
            }
        }
    }
    none("clocks and files in pure code", violations);
}

/// Returns the first part of a file's path below `probe-user/src`, such as `model`.
fn room(name: &str) -> &str {
    let path = name.strip_prefix("probe-user/src/").unwrap_or_default();
    path.split(['/', '.']).next().unwrap_or_default()
}

fn crates() -> [Crate; 4] {
    let root = root();
    [
        Crate::read(&root, "probe-ebpf/src", "lib.rs", &["programs"]),
        Crate::read(&root, "probe-ebpf/src/programs", "main.rs", &[]),
        Crate::read(&root, "probe-user/src", "lib.rs", &["main.rs"]),
        Crate::read(&root, "xtask/src", "main.rs", &[]),
    ]
}

/// Makes a source for the tests of this test.
#[cfg(test)]
fn sample(text: &str) -> Source {
    Source::new("sample.rs", text.to_owned())
}

#[test]
fn prose_is_comments_and_strings() {
    let source =
        sample("/// One\n/// two.\nfn f() { g(\"three \\\n     four\", '\"', 5) } // six\n");
    let prose: Vec<String> = source.prose().iter().map(source::Segment::text).collect();
    assert_eq!(prose, ["One two.", "three four", "six"]);
    assert!(!source.code.contains("One") && source.code.contains("fn f() { g("));
}

#[test]
fn a_phrase_is_found_across_lines_and_only_as_a_whole() {
    let source = sample("// It was lost for\n// want of room.\n// A forwarded wants.\n");
    let hits = words::in_text("sample.rs", &source.text, &source.prose());
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert!(
        hits[0].to_string().starts_with("sample.rs:1: "),
        "{}",
        hits[0]
    );
}

#[test]
fn a_circle_is_found_through_a_reexport_and_not_without_one() {
    let group = Crate::of(&[
        ("lib.rs", "mod a; mod b; pub use b::B;"),
        ("a.rs", "use crate::B; pub struct A;"),
        ("b.rs", "pub struct B; fn f() { super::a::A; }"),
    ]);
    let circles = group.circles();
    assert_eq!(circles.len(), 1);
    assert_eq!(circles[0].files, ["a.rs", "b.rs"]);
    // A parent that re-exports a child, and a child that imports a sibling through its parent.
    let group = Crate::of(&[
        ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
        ("a.rs", "use super::B; pub struct A;"),
        ("b.rs", "pub struct B;"),
    ]);
    assert!(group.circles().is_empty());
    // An item of the parent itself.
    let group = Crate::of(&[
        ("lib.rs", "mod a; pub use a::A; pub struct Own;"),
        ("a.rs", "use super::Own; pub struct A;"),
    ]);
    assert_eq!(group.circles().len(), 1);
}
