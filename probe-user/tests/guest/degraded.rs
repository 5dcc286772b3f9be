//! Without a hook: what depends on it is absent, and all the rest as exact as ever.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use pinscope::{model::Capture, provoke::Truth, snapshot::HookState};
use probe_ebpf::Verdict;

use crate::{
    commands::one_plain_sentence,
    scenarios::{capture_scenario, counted},
    support::{Check, hook, run, scratch, sum, total},
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
        test("without_any_other_hook_futile_stays_exact", hook_by_hook),
    ]
}

/// The hook stands as `state`, and says why.
fn stands(capture: &Capture, name: &str, state: HookState, check: &mut Check) -> Result<()> {
    let row = hook(capture, name)?;
    check.same(name, row.state, state);
    check.that(row.reason.as_ref().is_some_and(|r| r.len() > 5), || {
        format!("{name}: the reason is {:?}", row.reason)
    });
    // Whoever reads the capture learns what is missing or weaker.
    check.that(
        !capture.not_measured.is_empty() || !capture.weaker.is_empty(),
        || format!("without {name} nothing is said to be missing"),
    );
    Ok(())
}

/// The truth's verdicts against the whole capture, where no victim tells whose they are.
fn in_all(capture: &Capture, truth: &Truth, check: &mut Check) {
    for expected in &truth.expected {
        let folios: u64 = expected
            .verdicts
            .iter()
            .filter_map(|v| {
                let word = serde_json::to_value(v).ok()?;
                let verdict = Verdict::ALL.into_iter().find(|v| word == v.name())?;
                total(capture, verdict)
            })
            .sum();
        check.same(&format!("{:?}", expected.verdicts), folios, expected.min);
    }
    check.same("unmaps", capture.unmaps.total, Some(truth.unmaps_expected));
}

fn no_victims() -> Result<()> {
    let flags = ["--hook", "try_to_unmap_one=no_such_symbol"];
    for scenario in ["memfd-half-pin", "file-half-get", "lazyfree-get"] {
        let (captured, truth) = capture_scenario(&flags, scenario)?;
        let capture = &captured.capture;
        let mut check = Check::default();
        stands(
            capture,
            "try_to_unmap_one",
            HookState::Unsupported,
            &mut check,
        )?;
        let reason = hook(capture, "try_to_unmap_one")?.reason.clone();
        check.that(reason.is_some_and(|r| r.contains("no_such_symbol")), || {
            "the reason doesn't name the symbol".into()
        });
        check.that(capture.victims.is_none(), || "there are victims".into());
        check.that(captured.json["victims"].is_null(), || {
            "victims isn't null".into()
        });
        for group in captured.json["groups"].as_array().into_iter().flatten() {
            check.that(group["victim"].is_null(), || format!("a victim in {group}"));
        }
        in_all(capture, &truth, &mut check);
        check.same(
            "notifier calls",
            capture.notifier.calls,
            truth.notifier_calls_expected,
        );
        check.done(&captured.json)?;
    }
    Ok(())
}

fn no_notifier() -> Result<()> {
    let (captured, truth) = capture_scenario(&["--hook", "notifier_start=off"], "memfd-half-pin")?;
    let capture = &captured.capture;
    let mut check = Check::default();
    stands(capture, "notifier_start", HookState::Disabled, &mut check)?;
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
        for scenario in ["file-none", "file-get", "file-half-get", "lazyfree-none"] {
            let (captured, truth) = capture_scenario(&flags, scenario)?;
            let mut check = Check::default();
            stands(
                &captured.capture,
                "remove_mapping",
                HookState::Disabled,
                &mut check,
            )?;
            counted(&captured.capture, &truth, &mut check);
            check.done(&captured.json)?;
        }
    }
    Ok(())
}

fn no_shrink_list() -> Result<()> {
    let flags = ["--hook", "shrink_list=no_such_symbol"];
    for scenario in [
        "memfd-pin",
        "memfd-half-get",
        "file-half-get",
        "anon-half-get",
    ] {
        let (captured, truth) = capture_scenario(&flags, scenario)?;
        let capture = &captured.capture;
        let mut check = Check::default();
        stands(capture, "shrink_list", HookState::Unsupported, &mut check)?;
        for verdict in ["freed", "writeback", "kept"] {
            let value = captured.json["unmaps"]["by_verdict"].get(verdict);
            check.that(value.is_some_and(serde_json::Value::is_null), || {
                format!("{verdict} is {value:?}, not null")
            });
        }
        let in_vain = &truth.expected[0];
        let futile = crate::support::futile(capture);
        check.same(&format!("{:?}", in_vain.verdicts), futile, in_vain.min);
        check.same("unmaps", capture.unmaps.total, Some(truth.unmaps_expected));
        check.done(&captured.json).context(scenario)?;
    }
    Ok(())
}

fn no_reclaim_pages() -> Result<()> {
    let (captured, truth) = capture_scenario(&["--hook", "reclaim_pages=off"], "memfd-half-pin")?;
    let capture = &captured.capture;
    let mut check = Check::default();
    stands(capture, "reclaim_pages", HookState::Disabled, &mut check)?;
    in_all(capture, &truth, &mut check);
    let (unknown, _) = sum(capture, |g| g.reclaimer == "unknown");
    check.same(
        "by an unknown reclaimer",
        unknown.values().sum(),
        truth.unmaps_expected,
    );
    check.done(&captured.json)
}

fn no_write_folio() -> Result<()> {
    for scenario in ["memfd-none", "anon-none", "memfd-half-pin"] {
        let (captured, truth) = capture_scenario(&["--hook", "write_folio=off"], scenario)?;
        let capture = &captured.capture;
        let mut check = Check::default();
        stands(capture, "write_folio", HookState::Disabled, &mut check)?;
        let futile = crate::support::futile(capture);
        check.same(
            "futile",
            futile,
            truth.referenced_pages * u64::from(truth.rounds),
        );
        check.same("unmaps", capture.unmaps.total, Some(truth.unmaps_expected));
        check.done(&captured.json)?;
    }
    Ok(())
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
    one_plain_sentence(&ran.stderr)?;
    ensure!(ran.stderr.contains("nosuch"), "{}", ran.said());
    ensure!(
        ran.stdout.is_empty(),
        "CMD ran nevertheless: {}",
        ran.said()
    );
    ensure!(!file.exists(), "a capture of nothing was written");
    Ok(())
}

/// Each hook off in turn: no count goes wrong that doesn't depend on it.
fn hook_by_hook() -> Result<()> {
    for name in [
        "notifier_end",
        "write_folio",
        "remove_mapping",
        "notifier_start",
    ] {
        let flags = ["--hook", &format!("{name}=off")];
        let (captured, truth) = capture_scenario(&flags, "memfd-get")?;
        let mut check = Check::default();
        check.same(
            name,
            hook(&captured.capture, name)?.state,
            HookState::Disabled,
        );
        in_all(&captured.capture, &truth, &mut check);
        check
            .done(&captured.json)
            .with_context(|| format!("without {name}"))?;
    }
    Ok(())
}
