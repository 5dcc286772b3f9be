//! `pinscope selftest`: provokes every verdict on memory of its own, and compares the counts.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use probe_ebpf::Verdict;

use super::{CANNOT_RUN, options, output};
use crate::{
    cli::{Cli, Selftest, TextOrJson},
    kernel::probes::Probes,
    model::{Outcome, SelftestRow},
    provoke::{ExpectedVerdict, SCENARIOS, Scenario, ScenarioOptions, Truth},
    render,
    snapshot::{Counts, Snapshot},
};

pub(super) fn run(cli: &Cli, args: &Selftest) -> Result<u8> {
    let chosen: Vec<&Scenario> = if args.scenario.is_empty() {
        SCENARIOS.iter().collect()
    } else {
        args.scenario
            .iter()
            .map(|n| Scenario::named(n))
            .collect::<Result<_, _>>()?
    };
    let mut probes = Probes::attach(&options(&args.hooking))?;
    probes
        .drop_privileges()
        .context("cannot drop capabilities")?;
    let mut rows = Vec::new();
    for scenario in chosen {
        if !cli.quiet && io::stderr().is_terminal() {
            eprint!("\r\x1b[K{}: {}", scenario.name, scenario.summary);
        }
        rows.push(one(&mut probes, scenario, args)?);
    }
    if !cli.quiet && io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    match args.format {
        TextOrJson::Text => {
            let style = output::style(cli, io::stdout().is_terminal());
            output::to_stdout(render::text::selftest::report(&rows, &style).as_bytes())?;
        }
        TextOrJson::Json => {
            let mut bytes = serde_json::to_vec_pretty(&serde_json::json!({
                "schema": "pinscope.selftest/1",
                "scenarios": rows,
            }))?;
            bytes.push(b'\n');
            output::to_stdout(&bytes)?;
        }
    }
    let any = |outcome| rows.iter().any(|r| r.outcome == outcome);
    Ok(if any(Outcome::Fail) {
        1
    } else if any(Outcome::Pass) {
        0
    } else {
        CANNOT_RUN
    })
}

/// Runs the hidden command of a child of selftest: one scenario, with its truth on stdout.
pub(super) fn provoke(scenario: &str, pages: usize, rounds: u32) -> Result<u8> {
    let options = ScenarioOptions {
        pages,
        rounds,
        ..ScenarioOptions::default()
    };
    match Scenario::named(scenario)?.run(&options) {
        Ok(outcome) => {
            let mut line = serde_json::to_vec(&outcome.truth)?;
            line.push(b'\n');
            output::to_stdout(&line)
        }
        Err(error) if error.is_not_applicable() => {
            eprintln!("{error}");
            Ok(CANNOT_RUN)
        }
        Err(error) => Err(error.into()),
    }
}

fn one(probes: &mut Probes, scenario: &Scenario, args: &Selftest) -> Result<SelftestRow> {
    // A process per scenario: its pid identifies its unmaps among all that the probes saw.
    let child = Command::new(std::env::current_exe().context("cannot find this program")?)
        .args([
            "provoke",
            scenario.name,
            &args.pages.to_string(),
            &args.rounds.to_string(),
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start a child")?;
    let said = String::from_utf8_lossy(&child.stderr).trim().to_owned();
    let row = |expected: String, seen: String, outcome, reason| SelftestRow {
        scenario: scenario.name.to_owned(),
        expected,
        seen,
        outcome,
        reason,
    };
    if child.status.code() == Some(i32::from(CANNOT_RUN)) {
        let reason = said
            .lines()
            .next()
            .unwrap_or("not possible here")
            .to_owned();
        return Ok(row(
            String::new(),
            String::new(),
            Outcome::Skip,
            Some(reason),
        ));
    }
    if !child.status.success() {
        bail!(
            "the scenario {} ended with {}: {said}",
            scenario.name,
            child.status
        );
    }
    let truth: Truth = serde_json::from_slice(&child.stdout).with_context(|| {
        format!(
            "the result of the scenario {} cannot be parsed",
            scenario.name
        )
    })?;
    let (expected, seen, reason) = compare(&truth, &probes.snapshot()?);
    let outcome = if reason.is_none() {
        Outcome::Pass
    } else {
        Outcome::Fail
    };
    Ok(row(expected, seen, outcome, reason))
}

/// Returns what was provoked, what was seen of that process, and what is wrong, if anything is.
fn compare(truth: &Truth, snapshot: &Snapshot) -> (String, String, Option<String>) {
    let known = snapshot.victims.is_some();
    let mut by: BTreeMap<(&str, Verdict), Counts> = BTreeMap::new();
    for (group, counts) in &snapshot.groups {
        let own = group.victim.as_ref().is_some_and(|v| v.pid == truth.pid);
        // Others may reclaim this memory as well; only MADV_PAGEOUT's unmaps were provoked.
        if !own || group.reclaimer != probe_ebpf::Reclaimer::Madvise {
            continue;
        }
        for (verdict, c) in Verdict::ALL
            .into_iter()
            .zip(counts)
            .filter(|(_, c)| c.folios > 0)
        {
            by.entry((group.memory.as_str(), verdict))
                .or_default()
                .add(c);
        }
    }
    let total: u64 = by.values().map(|c| c.folios).sum();
    let calls: u64 = by.values().map(|c| c.notifier_calls).sum();
    let mut wrong = Vec::new();
    if !known {
        wrong
            .push("the hook try_to_unmap_one is not active, so the victims are unknown".to_owned());
    }
    let mut expected = Vec::new();
    for e in &truth.expected {
        let names: Vec<&str> = e.verdicts.iter().map(|v| word(*v)).collect();
        expected.push(format!("{} {} {}", e.min, e.memory, names.join(" or ")));
        let folios: u64 = by
            .iter()
            .filter(|((memory, v), _)| *memory == e.memory && names.contains(&v.name()))
            .map(|(_, c)| c.folios)
            .sum();
        if known && !(e.min..=e.max).contains(&folios) {
            wrong.push(format!("{folios} {} {}", e.memory, names.join(" or ")));
        }
    }
    if known && total != truth.unmaps_expected {
        wrong.push(format!(
            "{total} unmaps instead of {}",
            truth.unmaps_expected
        ));
    }
    if snapshot.notifier_ns.is_some()
        && let Some(expected) = truth.notifier_calls_expected
        && known
        && calls != expected
    {
        wrong.push(format!("{calls} notifier calls instead of {expected}"));
    }
    wrong.extend(
        truth
            .disagreements
            .iter()
            .map(|d| format!("the page tables disagree: {d}")),
    );
    if expected.is_empty() {
        expected.push("no unmap".into());
    }
    let mut seen: Vec<String> = by
        .iter()
        .map(|((memory, verdict), c)| format!("{} {memory} {}", c.folios, verdict.name()))
        .collect();
    if seen.is_empty() {
        seen.push("no unmap".into());
    }
    if calls > 0 {
        seen.push(format!("{calls} notifier calls"));
    }
    (
        expected.join(", "),
        seen.join(", "),
        (!wrong.is_empty()).then(|| wrong.join("; ")),
    )
}

fn word(verdict: ExpectedVerdict) -> &'static str {
    Verdict::from(verdict).name()
}
