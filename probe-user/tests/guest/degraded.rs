//! Captures without a hook: whatever depends on it is absent, and the rest is as exact as ever.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use pinscope::{model::Capture, provoke::Truth, snapshot::HookState};
use probe_ebpf::Verdict;

use crate::{
    scenarios::{capture_scenario, capture_scenarios, counted},
    support::{Check, futile, hook, run, scratch, sum, total},
    test,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("without_try_to_unmap_one_victims_are_absent", no_victims),
        test("without_notifier_start_notifiers_are_absent", no_notifier),
        test(
            "without_remove_mapping_freed_is_inferred",
            no_remove_mapping,
        ),
        test("without_shrink_list_futile_stays_exact", no_shrink_list),
        test(
            "without_reclaim_pages_the_reclaimer_is_unknown",
            no_reclaim_pages,
        ),
        test("without_write_folio_nothing_becomes_futile", no_write_folio),
        test("without_try_to_unmap_it_says_so_and_ends_with_77", no_unmap),
        test(
            "by_the_unmap_and_its_brackets_alone_futile_stays_exact",
            bare,
        ),
    ]
}

/// Checks that a hook is in `state` and gives a reason.
fn in_state(capture: &Capture, name: &str, state: HookState, check: &mut Check) -> Result<()> {
    let row = hook(capture, name)?;
    check.same(name, row.state, state);
    check.that(row.reason.as_ref().is_some_and(|r| r.len() > 5), || {
        format!("{name}: the reason is {:?}", row.reason)
    });
    // The capture says what is missing or weaker.
    check.that(
        !capture.not_measured.is_empty() || !capture.weaker.is_empty(),
        || format!("without {name}, nothing is reported as missing or weaker"),
    );
    Ok(())
}

/// Compares the truths' verdicts with the whole capture, for captures without victims.
fn in_all(capture: &Capture, truths: &[Truth], check: &mut Check) {
    // This works only for scenarios that allow no verdict both alone and together with another.
    let mut expected: BTreeMap<String, (Vec<Verdict>, u64)> = BTreeMap::new();
    for expectation in truths.iter().flat_map(|t| &t.expected) {
        let verdicts = Verdict::ALL.into_iter().filter(|verdict| {
            let is = |v: &_| serde_json::to_value(v).is_ok_and(|v| v == verdict.name());
            expectation.verdicts.iter().any(is)
        });
        let entry = expected
            .entry(format!("{:?}", expectation.verdicts))
            .or_default();
        entry.0 = verdicts.collect();
        entry.1 += expectation.min;
    }
    for (what, (verdicts, folios)) in expected {
        let seen = verdicts
            .into_iter()
            .filter_map(|v| total(capture, v))
            .sum::<u64>();
        check.same(&what, seen, folios);
    }
    let unmaps = truths.iter().map(|t| t.unmaps_expected).sum();
    check.same("unmaps", capture.unmaps.total, Some(unmaps));
}

/// Returns references × rounds: the futile unmaps, however many hooks are missing.
fn futile_expected(truths: &[Truth]) -> u64 {
    truths
        .iter()
        .map(|t| t.referenced_pages * u64::from(t.rounds))
        .sum()
}

fn no_victims() -> Result<()> {
    let flags = ["--hook", "try_to_unmap_one=no_such_symbol"];
    let names = ["memfd-half-pin", "memfd-get", "lazyfree-get"];
    let (captured, truths) = capture_scenarios(&flags, &names)?;
    let capture = &captured.capture;
    let mut check = Check::default();
    in_state(
        capture,
        "try_to_unmap_one",
        HookState::Unsupported,
        &mut check,
    )?;
    let reason = hook(capture, "try_to_unmap_one")?.reason.clone();
    check.that(reason.is_some_and(|r| r.contains("no_such_symbol")), || {
        "the reason doesn't name the symbol".into()
    });
    check.that(captured.json["victims"].is_null(), || {
        "victims isn't null".into()
    });
    for group in captured.json["groups"].as_array().into_iter().flatten() {
        check.that(group["victim"].is_null(), || format!("a victim in {group}"));
    }
    in_all(capture, &truths, &mut check);
    let calls = truths
        .iter()
        .filter_map(|t| t.notifier_calls_expected)
        .sum();
    check.same("notifier calls", capture.notifier.calls, Some(calls));
    check.done(&captured.json)
}

fn no_notifier() -> Result<()> {
    let flags = ["--hook", "notifier_start=off"];
    let (captured, truth) = capture_scenario(&flags, "memfd-half-pin")?;
    let capture = &captured.capture;
    let mut check = Check::default();
    in_state(capture, "notifier_start", HookState::Disabled, &mut check)?;
    for pointer in [
        "/notifier/calls",
        "/notifier/in_futile",
        "/notifier/seconds",
        "/subscribers",
        "/histograms/notifier_seconds",
        "/groups/0/notifier_calls",
        "/unmaps/by_verdict/futile_pinned/notifier_calls",
    ] {
        let value = captured.json.pointer(pointer);
        check.that(value.is_some_and(serde_json::Value::is_null), || {
            format!("{pointer} is {value:?}, not null")
        });
    }
    let without = Truth {
        notifier_calls_expected: None,
        ..truth
    };
    counted(capture, &without, &mut check);
    check.done(&captured.json)
}

fn no_remove_mapping() -> Result<()> {
    for attach in ["kprobe", "fentry"] {
        let flags = ["--attach", attach, "--hook", "remove_mapping=off"];
        let names = ["file-none", "file-get", "file-half-get", "lazyfree-none"];
        let (captured, truths) = capture_scenarios(&flags, &names)?;
        let mut check = Check::default();
        in_state(
            &captured.capture,
            "remove_mapping",
            HookState::Disabled,
            &mut check,
        )?;
        for truth in &truths {
            counted(&captured.capture, truth, &mut check);
        }
        in_all(&captured.capture, &truths, &mut check);
        check.done(&captured.json)?;
    }
    Ok(())
}

fn no_shrink_list() -> Result<()> {
    for attach in ["kprobe", "fentry"] {
        let flags = ["--attach", attach, "--hook", "shrink_list=no_such_symbol"];
        let names = [
            "memfd-pin",
            "memfd-half-get",
            "file-half-get",
            "anon-half-get",
        ];
        let (captured, truths) = capture_scenarios(&flags, &names)?;
        let capture = &captured.capture;
        let mut check = Check::default();
        in_state(capture, "shrink_list", HookState::Unsupported, &mut check)?;
        for verdict in ["freed", "writeback", "kept"] {
            let value = captured.json["unmaps"]["by_verdict"].get(verdict);
            check.that(value.is_some_and(serde_json::Value::is_null), || {
                format!("{verdict} is {value:?}, not null")
            });
        }
        check.same("futile", futile(capture), futile_expected(&truths));
        let unmaps = truths.iter().map(|t| t.unmaps_expected).sum();
        check.same("unmaps", capture.unmaps.total, Some(unmaps));
        check.done(&captured.json)?;
    }
    Ok(())
}

fn no_reclaim_pages() -> Result<()> {
    let flags = ["--hook", "reclaim_pages=off"];
    let (captured, truths) = capture_scenarios(&flags, &["memfd-half-pin", "anon-half-get"])?;
    let capture = &captured.capture;
    let mut check = Check::default();
    in_state(capture, "reclaim_pages", HookState::Disabled, &mut check)?;
    in_all(capture, &truths, &mut check);
    let (unknown, _) = sum(capture, |g| g.reclaimer.as_str() == "unknown");
    let unmaps = truths.iter().map(|t| t.unmaps_expected).sum();
    check.same(
        "by an unknown reclaimer",
        unknown.values().sum::<u64>(),
        unmaps,
    );
    check.done(&captured.json)
}

/// The kernel may have finished writing a folio before pinscope examines it. Writeback may then be
/// missed, but nothing becomes futile that isn't.
fn no_write_folio() -> Result<()> {
    let flags = ["--hook", "write_folio=off"];
    let names = ["memfd-none", "anon-none", "memfd-half-pin"];
    let (captured, truths) = capture_scenarios(&flags, &names)?;
    let capture = &captured.capture;
    let mut check = Check::default();
    in_state(capture, "write_folio", HookState::Disabled, &mut check)?;
    check.same("futile", futile(capture), futile_expected(&truths));
    let unmaps = truths.iter().map(|t| t.unmaps_expected).sum();
    check.same("unmaps", capture.unmaps.total, Some(unmaps));
    check.done(&captured.json)
}

fn no_unmap() -> Result<()> {
    let file = scratch("no-unmap.json");
    let name = file.to_str().context("no UTF-8")?;
    let words = [
        "pinscope",
        "capture",
        "-o",
        name,
        "--hook",
        "try_to_unmap=nosuch",
    ];
    let ran = run(&[&words[..], &["--", "echo", "CMD ran"]].concat())?;
    ran.expect_code(77)?;
    ran.expect_one_plain_sentence()?;
    ensure!(ran.stderr.contains("nosuch"), "{}", ran.said());
    ensure!(ran.stdout.is_empty(), "CMD ran anyway: {}", ran.said());
    ensure!(!file.exists(), "a capture of nothing was written");
    Ok(())
}

/// Attaches only the brackets and the unmap itself.
fn bare() -> Result<()> {
    let names = [
        "notifier_end",
        "notifier_start",
        "write_folio",
        "remove_mapping",
    ];
    let off: Vec<_> = names
        .iter()
        .map(|name| format!("--hook={name}=off"))
        .collect();
    let flags: Vec<_> = off.iter().map(String::as_str).collect();
    let scenarios = [
        "memfd-get",
        "file-half-get",
        "lazyfree-get",
        "anon-half-get",
    ];
    let (captured, truths) = capture_scenarios(&flags, &scenarios)?;
    let capture = &captured.capture;
    let mut check = Check::default();
    for name in names {
        check.same(name, hook(capture, name)?.state, HookState::Disabled);
    }
    let restored = truths.iter().filter(|t| t.scenario.starts_with("lazyfree"));
    let restored = restored.map(|t| t.unmaps_expected).sum();
    check.same(
        "restored",
        total(capture, Verdict::Restored),
        Some(restored),
    );
    check.same(
        "futile",
        futile(capture),
        futile_expected(&truths) - restored,
    );
    let unmaps = truths.iter().map(|t| t.unmaps_expected).sum();
    check.same("unmaps", capture.unmaps.total, Some(unmaps));
    check.done(&captured.json)
}
