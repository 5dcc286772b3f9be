//! Memory pressure: invariants that a loss or a double count would break.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use libtest_mimic::Trial;
use pinscope::{
    model::Capture,
    provoke::pressure::{Pressed, PressureReport},
};
use probe_ebpf::Verdict;

use crate::{
    consistent::{Missed, missed},
    ftrace::Tracer,
    helper::Shared,
    support::{Captured, Check, capture_missing, is_victim, kernel, sum, total},
    test, test_unless,
};

pub(crate) fn trials() -> Vec<Trial> {
    let no_memory_reclaim = (kernel() < (5, 19)).then_some("memory.reclaim came with 5.19");
    let mut trials = vec![
        test_unless(
            no_memory_reclaim,
            "memory_reclaim_is_counted_exactly",
            memory_reclaim,
        ),
        test("memory_of_two_processes_counts_once_and_names_both", shared),
        test("kswapd_balances_with_ftrace", || {
            machine("auto", "kswapd", "8")
        }),
    ];
    for attach in ["kprobe", "fentry"] {
        trials.push(test(
            format!("memory_high_is_counted_as_memcg_by_{attach}"),
            move || memory_high(attach),
        ));
    }
    // With the mode that `auto` chooses. With kprobes, 5.10 misses thousands of returns here: it
    // has as many instances of a kretprobe as CPUs, and more tasks than that sleep in reclaim.
    for attach in ["auto", "fentry"] {
        trials.push(test(
            format!("direct_reclaim_by_{attach}_balances_with_ftrace"),
            move || machine(attach, "direct", "6"),
        ));
    }
    trials
}

/// The most folios of one shrink call: `MAX_LRU_BATCH` (mm/vmscan.c). The classic LRU lists use
/// `SWAP_CLUSTER_MAX`, which is half of it.
const BATCH: u64 = 64;

/// Returns the number of unmaps that may be missing, given the missed calls that the capture
/// reports. A missed entry of a shrink call loses its whole batch.
fn unseen(capture: &Capture) -> u64 {
    missed(capture, "try_to_unmap") + BATCH * missed(capture, "shrink_list")
}

/// Captures a command that causes pressure, and compares all unmaps of reclaim with ftrace's count.
///
/// If several tasks reclaim at once, calls may be missed: with fentry and raw tracepoints if the
/// kernel preempts a task inside a program, with kretprobes if there is only one instance per CPU
/// (5.10). The difference must be what the capture reports.
fn pressed(attach: &str, words: &[&str]) -> Result<(Captured, Check)> {
    let tracer = Tracer::new()?;
    tracer.count_unmaps()?;
    // Reclaim stops before the capture ends, so that no unmap falls on its edge.
    let script = format!("{}; code=$?; sleep 1; exit $code", words.join(" "));
    let captured = capture_missing(
        &["--attach", attach],
        &["sh", "-c", &script],
        Missed::Reported,
    )?;
    let traced = tracer.unmaps()?;
    drop(tracer);
    let mut check = Check::default();
    let seen = captured.capture.unmaps.total.unwrap_or(0);
    let missed = unseen(&captured.capture);
    check.that((seen..=seen + missed).contains(&traced), || {
        format!("unmaps: {seen} seen, {missed} reported as missed, {traced} by ftrace")
    });
    let undecided = total(&captured.capture, Verdict::Undecided).unwrap_or(0);
    check.at_least("missed, and so perhaps undecided", missed, undecided);
    Ok((captured, check))
}

fn press(attach: &str, mode: &str, size: [&str; 2]) -> Result<(Captured, PressureReport, Check)> {
    let [pages, seconds] = size;
    let words = [
        "workload pressure",
        mode,
        "--json --pages",
        pages,
        "--seconds",
        seconds,
    ];
    let (captured, mut check) = pressed(attach, &words)?;
    let report: PressureReport = captured.ran.json()?;
    for member in &report.processes {
        of_process(&captured.capture, member, &mut check);
    }
    Ok((captured, report, check))
}

/// Futile unmaps of pinned memfd pages of one process.
fn futile_of(capture: &Capture, pid: u32) -> u64 {
    let (seen, _) = sum(capture, |g| {
        is_victim(g, pid) && g.memory.as_str() == "shmem"
    });
    seen.get(Verdict::FutilePinned.name()).copied().unwrap_or(0)
}

fn of_process(capture: &Capture, member: &Pressed, check: &mut Check) {
    let Pressed {
        cgroup, process, ..
    } = member;
    let who = &process.comm;
    check.at_least(
        &format!("futile unmaps of {who}"),
        futile_of(capture, process.pid) + unseen(capture),
        member.futile_at_least,
    );
    for group in capture
        .groups
        .iter()
        .flatten()
        .filter(|g| is_victim(g, process.pid))
    {
        let victim = group.victim.clone().unwrap_or_default();
        // Unmaps before it got its name and its cgroup are in other groups.
        if group.memory.as_str() == "shmem" {
            check.same("comm", victim.comm.as_ref(), Some(who));
            check.same("cgroup", victim.cgroup.as_ref(), Some(&cgroup.path));
        }
        let unmaps = group.total().folios;
        if group.memory.as_str() == "shmem" && process.subscriber {
            // The programs' own pages are shmem as well, and mapped by several processes.
            check.at_least("notifier calls", group.notifier_calls, Some(unmaps));
        }
    }
}

/// Returns the reclaimers of all unmaps, or of those with these victims.
fn reclaimers(capture: &Capture, pids: Option<&[u32]>) -> BTreeSet<String> {
    let groups = capture.groups.iter().flatten();
    groups
        .filter(|g| pids.is_none_or(|pids| pids.iter().any(|pid| is_victim(g, *pid))))
        .map(|g| g.reclaimer.to_string())
        .collect()
}

fn only(what: &str, seen: &BTreeSet<String>, allowed: &[&str], check: &mut Check) {
    check.that(seen.iter().all(|r| allowed.contains(&r.as_str())), || {
        format!("{what}: {seen:?} reclaimed, of {allowed:?}")
    });
}

fn pids(report: &PressureReport) -> Vec<u32> {
    report.processes.iter().map(|p| p.process.pid).collect()
}

fn memory_reclaim() -> Result<()> {
    let (captured, report, mut check) = press("auto", "memory-reclaim", ["256", "3"])?;
    let capture = &captured.capture;
    check.at_least("futile unmaps of the workload", report.futile_at_least, 512);
    for member in &report.processes {
        let pid = member.process.pid;
        // In lock step: what it found unmapped is what was unmapped, each page once.
        check.same(
            "futile unmaps",
            futile_of(capture, pid),
            member.futile_at_least,
        );
    }
    let seen = reclaimers(capture, Some(&pids(&report)));
    only("the cgroups' memory", &seen, &["proactive"], &mut check);
    check.same(
        "futile in all",
        total(capture, Verdict::FutilePinned),
        Some(report.futile_at_least),
    );
    check.done(&captured.json)
}

fn memory_high(attach: &str) -> Result<()> {
    let (captured, report, mut check) = press(attach, "memory-high", ["256", "3"])?;
    let seen = reclaimers(&captured.capture, Some(&pids(&report)));
    check.same("reclaimers", seen, BTreeSet::from(["memcg".to_owned()]));
    check.at_least("futile unmaps of the workload", report.futile_at_least, 1);
    check.done(&captured.json)
}

/// Puts the whole machine under pressure. What the kernel then reclaims is up to it, but the counts
/// must add up.
fn machine(attach: &str, mode: &str, seconds: &str) -> Result<()> {
    let (captured, report, mut check) = press(attach, mode, ["2048", seconds])?;
    let capture = &captured.capture;
    only(
        "the machine",
        &reclaimers(capture, None),
        &["kswapd", "direct"],
        &mut check,
    );
    check.at_least("unmaps", capture.unmaps.total, Some(1));
    check
        .done(&captured.json)
        .with_context(|| format!("{mode}: {:?}", report.change.vmstat))
}

fn shared() -> Result<()> {
    let program = std::env::current_exe()?.display().to_string();
    let (captured, mut check) = pressed("auto", &[&program, "--helper shared 64 3"])?;
    let truth: Shared = captured.ran.json()?;
    let capture = &captured.capture;
    // Through memory.high, the only way on 5.10, a few pages may stay mapped.
    check.at_least("pages the first lost", truth.in_first, truth.pages / 2);
    check.same("pages the second lost", truth.in_second, truth.in_first);
    let both = [truth.first, truth.second];
    let counted: u64 = both.iter().map(|pid| futile_of(capture, *pid)).sum();
    check.same("futile unmaps, each folio once", counted, truth.in_first);
    // The kernel may find a page of the processes' own memory referenced for a moment, for
    // example by another CPU's batch: those are victims' mappings too.
    let others = crate::support::futile(capture).saturating_sub(counted);
    for (pid, comm) in both.iter().zip(["shared-first", "shared-second"]) {
        let mut rows = capture
            .victims
            .iter()
            .flatten()
            .filter(|v| v.who.pid == Some(*pid));
        let row = rows.next().with_context(|| format!("{comm} is no victim"));
        match row {
            Ok(row) => {
                check.at_least(comm, row.mappings, truth.in_first);
                check.at_least("in all", truth.in_first + others, row.mappings);
                check.same("pages of small folios", row.pages, row.mappings);
                check.same("comm", row.who.comm.as_deref(), Some(comm));
            }
            Err(error) => check.complain(error.to_string()),
        }
        check.same("rows of one victim", rows.count(), 0);
    }
    check.done(&captured.json)
}
