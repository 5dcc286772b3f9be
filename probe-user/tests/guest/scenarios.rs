//! Every unmap of the workload's scenarios, compared with its truth.

use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use pinscope::{
    model::Capture,
    provoke::{Burst, Expectation, Reference, SCENARIOS, Subset, Truth},
};
use probe_ebpf::Verdict;

use crate::{
    support::{Captured, Check, Seen, capture, futile, is_victim, sum},
    test,
};

const PAGES: &str = "64";
const ROUNDS: &str = "3";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for attach in ["kprobe", "fentry"] {
        for scenario in SCENARIOS {
            let name = scenario.name;
            trials.push(test(format!("{attach}_counts_{name}_exactly"), move || {
                exactly(attach, name)
            }));
        }
        trials.push(test(format!("{attach}_counts_nothing_else"), move || {
            nothing_else(attach)
        }));
    }
    trials.push(test(
        "a_process_without_subscriber_has_no_notifier_calls",
        no_subscriber,
    ));
    trials.push(test("processes_that_exited_keep_their_names", short_lived));
    trials.push(test("a_burst_is_counted_to_the_last_unmap", burst));
    trials.push(test("events_and_those_over_budget_add_up", events));
    trials
}

/// Runs a scenario under a capture.
pub(crate) fn capture_scenario(flags: &[&str], name: &str) -> Result<(Captured, Truth)> {
    let (captured, mut truths) = capture_scenarios(flags, &[name])?;
    let truth = truths.pop().context("no truth")?;
    Ok((captured, truth))
}

/// Runs scenarios one after the other, each as a process, under one capture: most of the time goes
/// into attaching.
pub(crate) fn capture_scenarios(flags: &[&str], names: &[&str]) -> Result<(Captured, Vec<Truth>)> {
    let size = format!("--json --dir /mnt --pages {PAGES} --rounds {ROUNDS}");
    let runs = names
        .iter()
        .map(|name| format!("workload run {name} {size}"));
    let script = runs.collect::<Vec<_>>().join(" && ");
    let captured = capture(flags, &["sh", "-c", &script])?;
    // The capture went to a file, so CMD's stdout is left alone.
    let truths = captured
        .ran
        .stdout
        .lines()
        .map(serde_json::from_str::<Truth>);
    let truths = truths
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| captured.ran.said())?;
    ensure!(
        truths.len() == names.len(),
        "{} truths; {}",
        truths.len(),
        captured.ran.said()
    );
    for truth in &truths {
        ensure!(
            truth.disagreements.is_empty(),
            "the workload {} itself went wrong: {:?}",
            truth.scenario,
            truth.disagreements
        );
    }
    Ok((captured, truths))
}

/// Returns the capture of all scenarios in an attach mode, which is made once.
fn capture_of_all(attach: &str) -> &'static Result<(Captured, Vec<Truth>)> {
    static KPROBE: OnceLock<Result<(Captured, Vec<Truth>)>> = OnceLock::new();
    static FENTRY: OnceLock<Result<(Captured, Vec<Truth>)>> = OnceLock::new();
    let place = if attach == "kprobe" { &KPROBE } else { &FENTRY };
    place.get_or_init(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|s| s.name).collect();
        capture_scenarios(&["--attach", attach], &names)
    })
}

fn exactly(attach: &str, name: &str) -> Result<()> {
    let (captured, truths) = match capture_of_all(attach) {
        Ok(done) => done,
        Err(error) => bail!("{error:#}"),
    };
    let mut check = Check::default();
    let truth = truths
        .iter()
        .find(|t| t.scenario == name)
        .context("no truth")?;
    counted(&captured.capture, truth, &mut check);
    check.done(&captured.json)
}

/// Checks that nothing else was reclaimed meanwhile, and nothing was counted twice.
fn nothing_else(attach: &str) -> Result<()> {
    let (captured, truths) = match capture_of_all(attach) {
        Ok(done) => done,
        Err(error) => bail!("{error:#}"),
    };
    let capture = &captured.capture;
    let mut check = Check::default();
    let unmaps = truths.iter().map(|t| t.unmaps_expected).sum();
    check.same("unmaps in all", capture.unmaps.total, Some(unmaps));
    let calls = truths
        .iter()
        .filter_map(|t| t.notifier_calls_expected)
        .sum();
    check.same("notifier calls in all", capture.notifier.calls, Some(calls));
    for hook in &capture.hooks {
        if let Some(how) = hook.attach {
            let how = serde_json::to_value(how)?;
            check.that(how == attach || how == "raw_tracepoint", || {
                format!("{}: attached by {how}, not by {attach}", hook.name)
            });
        }
    }
    check.done(&captured.json)
}

/// Checks the unmaps of one process against its truth.
pub(crate) fn counted(capture: &Capture, truth: &Truth, check: &mut Check) {
    let own = |g: &pinscope::model::Group| is_victim(g, truth.pid);
    let mut expected_total = 0;
    for expectation in &truth.expected {
        expected_total += expectation.min;
        by_verdict(capture, truth, expectation, check);
    }
    check.same(
        "expectations and unmaps",
        expected_total,
        truth.unmaps_expected,
    );
    let (seen, calls) = sum(capture, own);
    check.same(
        &format!("unmaps of pid {}", truth.pid),
        seen.values().sum(),
        truth.unmaps_expected,
    );
    check.same(
        "notifier calls in them",
        calls,
        truth.notifier_calls_expected.unwrap_or(0),
    );
    for group in capture.groups.iter().flatten().filter(|g| own(g)) {
        let who = group.victim.clone().unwrap_or_default();
        check.same("victim's comm", who.comm.as_ref(), Some(&truth.comm));
        let cgroup = truth.cgroup.as_ref().map(|c| &c.path);
        check.same("victim's cgroup", who.cgroup.as_ref(), cgroup);
        let pages = group.total().pages >> group.order;
        check.same("pages of the group's folios", pages, group.total().folios);
    }
    let lost: u64 = capture
        .victims
        .iter()
        .flatten()
        .filter(|v| v.who.pid == Some(truth.pid))
        .map(|v| v.mappings)
        .sum();
    let futile: u64 = seen
        .iter()
        .filter(|(v, _)| v.starts_with("futile"))
        .map(|(_, n)| n)
        .sum();
    check.same("mappings lost to futile unmaps", lost, futile);
}

fn by_verdict(capture: &Capture, truth: &Truth, expected: &Expectation, check: &mut Check) {
    let (seen, _) = sum(capture, |g| {
        is_victim(g, truth.pid)
            && g.reclaimer.as_str() == expected.reclaimer
            && g.memory.as_str() == expected.memory
            && u32::from(g.order) == expected.order
    });
    let folios: u64 = expected
        .verdicts
        .iter()
        .map(|v| seen.get(Verdict::from(*v).name()).copied().unwrap_or(0))
        .sum();
    let what = format!("{} {:?}", expected.memory, expected.verdicts);
    check.that((expected.min..=expected.max).contains(&folios), || {
        format!(
            "{what}: {folios} of {seen:?}, {}..={} expected",
            expected.min, expected.max
        )
    });
}

/// Checks the references: how many, on how many folios, and how many times each was unmapped.
pub(crate) fn references(capture: &Capture, truth: &Truth, check: &mut Check) {
    let futile = futile(capture);
    let histograms = &capture.histograms;
    let (Some(excess), Some(per_folio)) =
        (&histograms.excess_references, &histograms.unmaps_per_folio)
    else {
        check.complain("no histograms".into());
        return;
    };
    if futile == 0 {
        check.same("folios with futile unmaps", per_folio.count, 0);
        return;
    }
    check.same(
        "folios with futile unmaps",
        per_folio.count,
        truth.referenced_pages,
    );
    let most = per_folio.max.map(|n| n.0);
    check.same("unmaps of one folio", most, Some(f64::from(truth.rounds)));
    let one = match truth.reference {
        // GUP_PIN_COUNTING_BIAS
        Reference::IoUring => 1024.0,
        _ => 1.0,
    };
    check.same("excess of each", excess.sum.0, one * futile as f64);
    let range = (excess.min.map(|n| n.0), excess.max.map(|n| n.0));
    check.same("range of the excess", range, (Some(one), Some(one)));
    check.that(truth.subset != Subset::None, || {
        "references out of nothing".into()
    });
    if truth.subscriber {
        let kvm = capture
            .subscribers
            .iter()
            .flatten()
            .find(|s| s.symbol == "kvm_mmu_notifier_invalidate_range_start");
        check.same("calls of KVM", kvm.map(|s| s.calls), capture.notifier.calls);
    }
}

fn no_subscriber() -> Result<()> {
    let cmd = ["workload", "run", "memfd-pin", "--no-kvm", "--json"];
    let captured = capture(
        &[],
        &[&cmd[..], &["--pages", PAGES, "--rounds", ROUNDS]].concat(),
    )?;
    let truth: Truth = captured.ran.json()?;
    let mut check = Check::default();
    counted(&captured.capture, &truth, &mut check);
    check.same("notifier calls", captured.capture.notifier.calls, Some(0));
    check.done(&captured.json)
}

fn short_lived() -> Result<()> {
    let captured = capture(&[], &["workload", "short-lived", "5"])?;
    let truths: Vec<Truth> = captured.ran.json()?;
    let mut check = Check::default();
    check.same("processes", truths.len(), 5);
    for (number, truth) in truths.iter().enumerate() {
        check.same("comm", truth.comm.as_str(), &format!("short-{number}"));
        counted(&captured.capture, truth, &mut check);
    }
    let victims = captured.capture.victims.as_ref().map(Vec::len);
    check.same("victims", victims, Some(5));
    check.done(&captured.json)
}

/// Runs a burst under a capture.
fn capture_burst(flags: &[&str]) -> Result<(Captured, Burst, Seen)> {
    let cmd = ["workload", "burst", "--pages", "256", "--rounds", "40"];
    let captured = capture(flags, &cmd)?;
    let burst: Burst = captured.ran.json()?;
    let (seen, calls) = sum(&captured.capture, |g| is_victim(g, burst.pid));
    let mut check = Check::default();
    check.same(
        "unmaps",
        &seen,
        &Seen::from([("futile_pinned", burst.folios)]),
    );
    if burst.subscriber {
        check.same("notifier calls", calls, burst.folios);
    }
    check.done(&captured.json)?;
    Ok((captured, burst, seen))
}

fn burst() -> Result<()> {
    for attach in ["kprobe", "fentry"] {
        let (captured, burst, _) = capture_burst(&["--attach", attach])?;
        let mut check = Check::default();
        check.same("folios of the workload", burst.folios, 256 * 40);
        let per_folio = captured.capture.histograms.unmaps_per_folio.as_ref();
        check.same("folios", per_folio.map(|h| h.count), Some(256));
        check.done(&captured.json)?;
    }
    Ok(())
}

fn events() -> Result<()> {
    let (captured, burst, _) = capture_burst(&["--events", "50"])?;
    let events = captured.capture.events.as_deref().unwrap_or_default();
    let lost = &captured.capture.lost.by_map;
    let mut check = Check::default();
    check.at_least("events", events.len(), 1);
    check.at_least("events over the budget", lost.events_over_budget, 1);
    check.same(
        "events, recorded and over budget",
        events.len() as u64 + lost.events + lost.events_over_budget,
        burst.folios,
    );
    for event in events {
        check.same("verdict", event.verdict.as_str(), "futile_pinned");
        check.same("tid", event.reclaimer_tid, burst.pid);
        check.same(
            "pid",
            event.victim.as_ref().and_then(|v| v.pid),
            Some(burst.pid),
        );
        check.same("excess", event.excess, 1024);
        check.same("mappings", event.mappings, 1);
        check.that(event.address.is_some(), || {
            "an event without an address".into()
        });
    }
    check.done(&captured.json)
}
