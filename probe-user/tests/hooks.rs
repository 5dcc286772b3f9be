//! The catalogue of hooks compared with the kernel side's object, with its sources and with
//! docs/hooks.md. `PINSCOPE_DOCS=write cargo test --test hooks` writes the page anew.

// clippy.toml allows these in tests, but not in the helpers beside them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use pinscope::snapshot::{HookState, HookStatus};
use probe_ebpf::{
    Hook,
    hooks::{Entry, PLANNED, Target, is_enter, is_exit},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A host where everything attaches that this version attaches on stock kernels has all hooks.
#[test]
fn hooks_that_nobody_expects_are_not_counted() {
    let rows = |by_kprobe: bool| {
        Hook::ALL.map(|hook| {
            let entry = hook.entry();
            let off = entry.off_by_kprobe.filter(|_| by_kprobe);
            let (state, reason) = match (entry.usually_absent, off) {
                (Some(why), _) => (HookState::Unsupported, Some(why)),
                (None, Some(why)) => (HookState::Disabled, Some(why)),
                (None, None) => (HookState::Active, None),
            };
            HookStatus {
                name: hook.name().to_owned(),
                symbol: entry.symbols[0].to_owned(),
                attach: None,
                state,
                reason: reason.map(str::to_owned),
                hits: None,
                missed: None,
            }
        })
    };
    for by_kprobe in [false, true] {
        let mut rows = rows(by_kprobe);
        let (active, all) = HookStatus::active_of_all(&rows);
        assert_eq!(active, all);
        assert!(all > 0 && all < Hook::COUNT);
        for state in [
            HookState::Unsupported,
            HookState::Failed,
            HookState::Disabled,
        ] {
            rows[Hook::UnmapOne as usize].state = state;
            assert_eq!(
                HookStatus::active_of_all(&rows),
                (all - 1, all),
                "{state:?}"
            );
        }
        // What the user turned off, or on, is expected.
        let end = &mut rows[Hook::NotifierEnd as usize];
        end.state = HookState::Disabled;
        end.reason = Some("turned off by --hook".to_owned());
        let all = all + usize::from(by_kprobe);
        assert_eq!(HookStatus::active_of_all(&rows).1, all);
    }
}

/// The programs in the object, with the section that says how the kernel runs each.
fn programs() -> BTreeMap<String, String> {
    let bytes = fs::read(env!("PINSCOPE_EBPF_OBJECT")).unwrap();
    let object = object::File::parse(&*bytes).unwrap();
    let symbols = object.symbols().filter(|s| s.kind() == SymbolKind::Text);
    symbols
        .filter_map(|symbol| {
            let section = object.section_by_index(symbol.section_index()?).ok()?;
            let section = section.name().ok()?.to_owned();
            // The compiler's own functions, such as memset.
            (section != ".text").then(|| (symbol.name().unwrap().to_owned(), section))
        })
        .collect()
}

/// The programs that an entry names, with the section that each must be in.
fn named(entry: &Entry) -> Vec<(&'static str, &'static str)> {
    let kind = |program, enter, exit| (program, if is_exit(program) { exit } else { enter });
    match entry.target {
        Target::Function { kprobe, fentry } => {
            let kprobe = kprobe.iter().map(|p| kind(*p, "kprobe", "kretprobe"));
            let fentry = fentry.iter().map(|p| kind(*p, "fentry", "fexit"));
            kprobe.chain(fentry).collect()
        }
        Target::Tracepoint { programs } => programs.iter().map(|p| (*p, "raw_tp")).collect(),
    }
}

#[test]
fn the_object_has_every_program_of_the_catalogue() {
    let programs = programs();
    for hook in Hook::ALL {
        for (program, section) in named(hook.entry()) {
            assert_eq!(
                programs.get(program).map(String::as_str),
                Some(section),
                "the section of {program}, which hook {} names: build the object with `cargo \
                 xtask build`",
                hook.name()
            );
        }
    }
}

#[test]
fn one_hook_names_each_program_of_the_object() {
    for program in programs().keys() {
        let hooks: Vec<&str> = Hook::ALL
            .iter()
            .map(|hook| hook.entry())
            .filter(|entry| entry.target.programs().any(|p| p == program))
            .map(|entry| entry.name)
            .collect();
        assert_eq!(hooks.len(), 1, "the hooks that name {program}: {hooks:?}");
    }
}

#[test]
fn a_return_attaches_before_its_entry() {
    let before = |programs: &[&str]| {
        let exit = programs.iter().position(|p| is_exit(p));
        let enter = programs.iter().position(|p| is_enter(p));
        enter.is_none_or(|enter| exit.is_some_and(|exit| exit < enter))
    };
    for hook in Hook::ALL {
        if let Target::Function { kprobe, fentry } = hook.entry().target {
            assert!(before(kprobe) && before(fentry), "{}", hook.name());
        }
    }
}

#[test]
fn each_hook_has_a_file() {
    let folder = Path::new(ROOT).join("probe-ebpf/src/programs/hooks");
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort_unstable();
    let mut names = Hook::ALL.map(|hook| format!("{}.rs", hook.name()));
    names.sort_unstable();
    assert_eq!(files, names);
}

fn code(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    quoted.join(", ")
}

fn row(out: &mut String, cells: &[String]) {
    writeln!(out, "| {} |", cells.join(" | ")).unwrap();
}

/// docs/hooks.md.
fn page() -> String {
    let mut out = "# The hooks\n\n\
        <!-- Made from probe-ebpf/src/hooks.rs by probe-user/tests/hooks.rs: \
        `PINSCOPE_DOCS=write cargo test --test hooks` -->\n\n\
        pinscope hooks these places in the kernel. Each may be unavailable by itself: \
        `pinscope doctor` shows which hooks attach on a machine, and what to do about the \
        others. Whatever depends on a missing hook is absent from the outputs, never 0.\n\n\
        Hooks attach from the inside out: what happens within an unmap first, the bracket that \
        starts the counting last.\n\n\
        | Hook | What it sees | Symbols, newest first | Programs | What depends on it | What is \
        missing or weaker without it |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for hook in Hook::ALL {
        let entry = hook.entry();
        let programs = match entry.target {
            Target::Function { kprobe, fentry } => {
                format!("kprobe: {}; fentry: {}", code(kprobe), code(fentry))
            }
            Target::Tracepoint { programs } => format!("raw tracepoint: {}", code(programs)),
        };
        let missing = entry.not_measured.map(|what| format!("Missing: {what}."));
        let weaker = entry.weaker.map(|what| format!("Weaker: {what}."));
        let mut without: Vec<String> = missing.into_iter().chain(weaker).collect();
        if without.is_empty() {
            without.push("Nothing.".to_owned());
        }
        if entry.usually_absent.is_some() {
            without.push("Stock kernels lack it.".to_owned());
        }
        if entry.off_by_kprobe.is_some() {
            without.push(format!(
                "Left out by default with kprobes; `--hook {}=on` attaches it.",
                entry.name
            ));
        }
        row(
            &mut out,
            &[
                code(&[entry.name]),
                format!("{} ({})", entry.about.trim_end_matches('.'), entry.source),
                code(entry.symbols),
                programs,
                entry.answers.to_owned(),
                without.join(" "),
            ],
        );
    }
    out.push_str(
        "\nWhat later versions will hook is no hook of this version. Reports list it as not \
         measured.\n\n\
         | Not measured yet | Function to hook | Reason |\n|---|---|---|\n",
    );
    for planned in &PLANNED {
        row(
            &mut out,
            &[
                planned.not_measured.to_owned(),
                code(&[planned.symbol]),
                planned.reason.to_owned(),
            ],
        );
    }
    out
}

#[test]
fn docs_hooks_page_is_up_to_date() {
    let path = Path::new(ROOT).join("docs/hooks.md");
    let now = page();
    if std::env::var_os("PINSCOPE_DOCS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == now,
        "docs/hooks.md is out of date: write it anew with PINSCOPE_DOCS=write"
    );
}
