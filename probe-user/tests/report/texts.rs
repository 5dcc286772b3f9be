//! Text for people.

use std::time::Duration;

use pinscope::{
    model::{AnswerWord, Check, DoctorReport, Outcome, SelftestRow, Severity, Totals},
    render::text::{Style, doctor, progress::progress_line, report, selftest},
    snapshot::{HookState, Snapshot},
};
use probe_ebpf::{Hook, Verdict};

use crate::fixtures::{self as f, capture};

fn shown(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn plain(snapshot: &Snapshot) -> String {
    report::report(&capture(snapshot), &Style::default())
}

#[test]
fn busy_host() {
    shown("busy", &plain(&f::busy()));
}

#[test]
fn quiet_host() {
    shown("quiet", &plain(&f::quiet()));
}

#[test]
fn missing_hooks() {
    shown("missing_hooks", &plain(&f::missing_hooks()));
}

#[test]
fn nothing_reclaimed() {
    shown("nothing", &plain(&f::nothing()));
}

#[test]
fn many_victims() {
    shown("many_victims", &plain(&f::many_victims()));
}

#[test]
fn without_the_unmap_hook() {
    let mut s = f::busy();
    f::without(&mut s, Hook::Unmap, HookState::Failed, "EPERM");
    shown("no_unmap", &plain(&s));
}

#[test]
fn ascii() {
    let style = Style {
        ascii: true,
        ..Style::default()
    };
    let text = report::report(&capture(&f::busy()), &style);
    assert!(text.is_ascii());
    shown("ascii", &text);
}

#[test]
fn colour_adds_nothing_but_colour() {
    let style = Style {
        color: true,
        ..Style::default()
    };
    let colored = report::report(&capture(&f::busy()), &style);
    assert!(colored.contains("\x1b[1;31m"));
    let mut bare = String::new();
    for (i, part) in colored.split("\x1b[").enumerate() {
        bare.push_str(if i == 0 {
            part
        } else {
            part.split_once('m').unwrap().1
        });
    }
    let trimmed: Vec<_> = bare.lines().map(str::trim_end).collect();
    assert_eq!(trimmed.join("\n") + "\n", plain(&f::busy()));
}

#[test]
fn answers() {
    let answer = |s: &Snapshot| capture(s).answer;
    let busy = answer(&f::busy());
    assert_eq!(busy.word, AnswerWord::Yes);
    assert_eq!(answer(&f::quiet()).word, AnswerWord::No);
    assert_eq!(answer(&f::nothing()).word, AnswerWord::CantTell);
    let mut few = f::busy();
    few.groups.truncate(1);
    few.groups[0].1 = Default::default();
    few.groups[0].1[Verdict::FutilePinned as usize].folios = 3;
    few.groups[0].1[Verdict::Freed as usize].folios = 5;
    let few = answer(&few);
    assert_eq!(few.word, AnswerWord::Barely);
    insta::assert_snapshot!(few.text, @"Reclaim wastes little work: 3 of 8 unmaps (38 %) were futile, on probably pinned memory. These are too few unmaps to judge by.");
    let mut references = f::busy();
    references.groups.remove(0);
    let references = answer(&references);
    assert_eq!(references.word, AnswerWord::Yes);
    assert!(
        references
            .text
            .starts_with("Reclaim is wasting work, but not on pins: 48 of 192"),
        "{references:?}"
    );
}

#[test]
fn only_large_folios_are_surely_pinned() {
    assert!(
        capture(&f::many_victims())
            .answer
            .text
            .contains("pinned or probably pinned")
    );
    let mut large = f::many_victims();
    large.groups.retain(|(g, _)| g.order == 9);
    let c = capture(&large);
    assert_eq!(c.accuracy.maybe_pinned_folios, 0);
    assert!(!report::report(&c, &Style::default()).contains("probably"));
}

#[test]
fn small_numbers_are_no_problem() {
    let mut s = f::busy();
    for (_, counts) in &mut s.groups {
        for c in counts {
            c.folios = c.folios.min(2);
        }
    }
    let c = capture(&s);
    assert!(
        c.findings.iter().all(|f| f.severity == Severity::Info),
        "{:#?}",
        c.findings
    );
}

#[test]
fn progress() {
    let line = |s| progress_line(Duration::from_secs(12), &Totals::between(None, &s));
    insta::assert_snapshot!(line(f::busy()), @"12 s: 2,048 unmaps, 1,584 (77 %) futile, with 1,584 notifier calls");
    insta::assert_snapshot!(line(f::nothing()), @"12 s: no unmap yet");
}

pub(crate) fn doctor_report() -> DoctorReport {
    let check = |name: &str, ok, detail: &str, remedy: Option<&str>| Check {
        name: name.to_owned(),
        ok,
        detail: detail.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    DoctorReport::new(
        false,
        f::host().kernel,
        vec![
            check(
                "kernel type information",
                true,
                "/sys/kernel/btf/vmlinux",
                None,
            ),
            check(
                "privileges",
                false,
                "CAP_BPF and CAP_PERFMON are missing",
                Some("run as root, or: setcap cap_bpf,cap_perfmon,cap_sys_resource+ep pinscope"),
            ),
        ],
        f::missing_hooks().hooks,
    )
}

#[test]
fn doctor() {
    shown(
        "doctor",
        &doctor::report(&doctor_report(), &Style::default()),
    );
}

#[test]
fn selftests() {
    let row =
        |scenario: &str, expected: &str, seen: &str, outcome, reason: Option<&str>| SelftestRow {
            scenario: scenario.to_owned(),
            expected: expected.to_owned(),
            seen: seen.to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
        };
    let rows = [
        row(
            "pinned memfd",
            "futile_pinned 16",
            "futile_pinned 16",
            Outcome::Pass,
            None,
        ),
        row(
            "vmsplice",
            "futile_referenced 16",
            "futile_referenced 15, freed 1",
            Outcome::Fail,
            None,
        ),
        row(
            "kvm",
            "notifier calls 16",
            "",
            Outcome::Skip,
            Some("/dev/kvm is not there"),
        ),
    ];
    shown("selftest", &selftest::report(&rows, &Style::default()));
}
