//! Hosts on which processes and cgroups come and go, or on which memory is short: every count
//! reaches the totals, and pinscope's own needs stay small.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::time::{clock_getcpuclockid, clock_gettime};
use pinscope::provoke::churn::ChurnReport;
use procfs::{Current, Meminfo};
use serde_json::Value;

use crate::{
    export::{EXPORTER, ended, get, wait},
    soak::{Plan, Sample, Soak, exporter, values},
    support::{Check, Running, capture, run, start},
    test,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("export_under_churn_is_bounded_and_lossless", export),
        test(
            "capture_of_more_processes_than_keys_is_exact",
            more_than_keys,
        ),
        test("missed_returns_leave_no_claims", claims),
        test("export_goes_on_when_memory_is_short", short_of_memory),
    ]
}

/// The directories of cgroups that exist beside the churn.
const DIRECTORIES: usize = 5000;
/// More cgroups than the maps have keys.
const MANY: u64 = 4600;

/// One exporter, for several questions, because attaching takes a while.
fn export() -> Result<()> {
    let exporter = exporter(&["--cgroups", "5", "--interval", "50ms"])?;
    let idle = cost(&exporter)?;
    let crowd = Crowd::new(DIRECTORIES)?;
    let soak = Soak::run(
        &Plan {
            processes: MANY,
            cgroups: MANY,
            pages: 2,
            rounds: 1,
            steady: 2,
            scrapers: vec![1000, 300],
        },
        false,
    )?;
    for figure in soak.figures() {
        println!("figure {figure}");
    }
    let mut check = Check::default();
    soak.check(&mut check);
    let crowded = cost(&exporter)?;
    println!("figure CPU of a scrape: idle {idle} ns, crowded {crowded} ns");
    check.that(crowded <= 2 * idle, || {
        format!(
            "a scrape costs {crowded} ns with {DIRECTORIES} directories of cgroups and {MANY} \
             cgroups that are gone, and cost {idle} ns without"
        )
    });
    check.done(&Value::String(soak.metrics.clone()))?;
    drop(crowd);
    ended(exporter)
}

/// Returns the CPU time that the exporter takes for a scrape, in nanoseconds: the median of some,
/// as what it does once a second falls into few of them.
fn cost(exporter: &Running) -> Result<i64> {
    let clock = clock_getcpuclockid(exporter.pid())?;
    let now = || -> Result<i64> {
        let time = clock_gettime(clock)?;
        Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
    };
    let mut costs = Vec::new();
    for _ in 0..15 {
        // Longer than the exporter's interval: each scrape reads the kernel.
        std::thread::sleep(std::time::Duration::from_millis(60));
        let before = now()?;
        get(EXPORTER, "/metrics", "text/plain")?;
        costs.push(now()? - before);
    }
    costs.sort_unstable();
    Ok(costs[costs.len() / 2])
}

/// Empty cgroups, removed on drop.
struct Crowd(Vec<PathBuf>);

impl Crowd {
    fn new(directories: usize) -> Result<Self> {
        let above = Path::new("/sys/fs/cgroup/crowd");
        let mut crowd = Self(vec![above.to_owned()]);
        std::fs::create_dir(above)?;
        for number in 1..directories {
            // As a kubelet lays them out: some with many children, few levels.
            let place = match number % 100 {
                0 => above.join(format!("slice-{}", number / 100)),
                n => crowd.0[number - n].join(format!("scope-{n}")),
            };
            std::fs::create_dir(&place)?;
            crowd.0.push(place);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for directory in self.0.iter().rev() {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// The keys of processes run out; the totals and their partition do not suffer.
fn more_than_keys() -> Result<()> {
    let processes = MANY.to_string();
    let words = [
        "workload",
        "churn",
        "--json",
        "--cgroups",
        "0",
        "--processes",
    ];
    let captured = capture(&[], &[&words[..], &[&processes]].concat())?;
    let truth: ChurnReport = captured.ran.json()?;
    let capture = &captured.capture;
    let mut check = Check::default();
    check.same("unmaps", capture.unmaps.total, Some(truth.unmaps_expected));
    check.same("pages", capture.unmaps.pages, Some(truth.pages_expected));
    check.same(
        "futile",
        crate::support::futile(capture),
        truth.futile_expected,
    );
    let in_groups: u64 = capture
        .groups
        .iter()
        .flatten()
        .map(|g| g.total().folios)
        .sum();
    check.same("unmaps of all groups", in_groups, truth.unmaps_expected);
    let lost: u64 = capture.victims.iter().flatten().map(|v| v.mappings).sum();
    check.same("mappings of all victims", lost, truth.futile_expected);
    let mut json = captured.json;
    for long in ["groups", "victims"] {
        json[long] = Value::Null;
    }
    check.done(&json)
}

/// A kretprobe has a limited number of instances. With more tasks inside reclaim than that, returns
/// are missed, and the last batch of a task that ends stays open: what it has counted must reach
/// the totals, and its claim must go.
fn claims() -> Result<()> {
    let exporter = exporter(&["--attach", "kprobe", "--interval", "50ms"])?;
    let words = "--processes 200 --cgroups 0 --jobs 40 --pages 256 --freed 0 --rounds 4";
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let (truth, _held) = crate::soak::churn(&words)?;
    let begun = Instant::now();
    let read = || Sample::take(begun, 0);
    let mut check = Check::default();
    let settled = wait("claims of tasks that are gone", || {
        let (sample, metrics) = read()?;
        let left = sample.entries("tasks");
        ensure!(left == Some(0.0), "{left:?} claims are left: {metrics}");
        Ok((sample, metrics))
    });
    let (sample, metrics) = match settled {
        Ok(last) => last,
        Err(error) => {
            check.complain(format!("{error:#}"));
            read()?
        }
    };
    let missed: f64 = values(&metrics, "pinscope_hook_missed_total", |_| true).sum();
    println!("figure {missed} calls or returns missed");
    check.same("unmaps", sample.unmaps, truth.unmaps_expected as f64);
    check.done(&Value::String(metrics))?;
    ended(exporter)
}

/// The memory that is left beside the programs that run, for the machine to be short of it.
const LEFT_MIB: u64 = 96;

/// While the kernel kills processes for want of memory, the exporter goes on counting and serving.
fn short_of_memory() -> Result<()> {
    let lock = run(&["pinscope", "export", "--help"])?
        .stdout
        .contains("--lock-memory");
    let flags: &[&str] = if lock { &["--lock-memory"] } else { &[] };
    let exporter = exporter(&[flags, &["--cgroups", "5", "--interval", "50ms"]].concat())?;
    let adjust = |pid: &str, to: &str| std::fs::write(format!("/proc/{pid}/oom_score_adj"), to);
    // As the unit and the chart have it.
    adjust(&exporter.pid().to_string(), "-900")?;
    // The workload inherits it from this process. The hog gives itself up to be killed.
    adjust("self", "-1000")?;
    let done = press_hard(&exporter);
    adjust("self", "0")?;
    let (truth, kills, scrapes) = done?;
    let (_, metrics) = Sample::take(Instant::now(), 0)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid()))?;
    for name in ["VmHWM:", "VmRSS:", "VmLck:", "VmPeak:"] {
        let line = status.lines().find(|l| l.starts_with(name));
        println!("figure exporter, {kills} kills: {}", line.unwrap_or(name));
    }
    let mut check = Check::default();
    check.at_least("processes killed", kills, 3);
    check.at_least("scrapes meanwhile", scrapes, 3);
    // Reclaim by those who want memory may take a page that MADV_FREE gave back first.
    for (memory, verdict, expected) in [
        ("shmem", "futile_referenced", truth.futile_expected),
        ("lazyfree", "freed", truth.freed_expected),
    ] {
        let labels = [
            format!("memory=\"{memory}\""),
            format!("verdict=\"{verdict}\""),
        ];
        let seen: f64 = values(&metrics, "pinscope_unmaps_total", |l| {
            labels.iter().all(|label| l.contains(label))
                && (memory == "lazyfree" || l.contains("reclaimer=\"madvise\""))
        })
        .sum();
        check.same(memory, seen, expected as f64);
    }
    let lost: f64 = values(&metrics, "pinscope_events_lost_total", |_| true).sum();
    check.same("lost", lost, 0.0);
    check.done(&Value::String(metrics))?;
    ended(exporter)
}

/// Runs a churn and, one after the other, processes that take all memory, until the churn is over;
/// returns the truth of the churn, and the numbers of kills and of scrapes meanwhile.
fn press_hard(exporter: &Running) -> Result<(ChurnReport, u64, u64)> {
    let _short = Short::of_memory()?;
    let killed = || -> Result<u64> {
        let counters = procfs::vmstat()?;
        Ok(counters
            .get("oom_kill")
            .copied()
            .unwrap_or(0)
            .unsigned_abs())
    };
    let before = killed()?;
    let words = "workload churn --json --inspect-all --processes 3000 --cgroups 300 --rounds 2";
    let mut workload = start(&words.split(' ').collect::<Vec<_>>())?;
    let program = std::env::current_exe()?;
    let mut scrapes = 0;
    loop {
        let over = workload.child.try_wait()?.is_some();
        // One more after the churn's end would be none beside it.
        if over {
            break;
        }
        let hog = std::process::Command::new(&program)
            .args(["--helper", "hog"])
            .stderr(Stdio::null())
            .status()?;
        ensure!(!hog.success(), "the hog got all memory: {hog}");
        get(EXPORTER, "/metrics", "text/plain").with_context(|| exporter.stderr.so_far())?;
        scrapes += 1;
    }
    let ran = workload.wait()?;
    ran.expect_code(0)?;
    Ok((ran.json()?, killed()? - before, scrapes))
}

/// A machine without swap on which little memory is left. Dropping it gives all back.
struct Short(Vec<String>);

impl Short {
    fn of_memory() -> Result<Self> {
        let swaps = std::fs::read_to_string("/proc/swaps")?;
        let swaps = swaps.lines().skip(1).filter_map(|l| l.split(' ').next());
        let short = Self(swaps.map(str::to_owned).collect());
        for swap in &short.0 {
            run(&["swapoff", swap])?.expect_code(0)?;
        }
        // Huge pages are neither reclaimed nor swapped out.
        let available = Meminfo::current()?
            .mem_available
            .context("no MemAvailable")?;
        let pages = (available >> 20).saturating_sub(LEFT_MIB) / 2;
        std::fs::write(HUGE_PAGES, pages.to_string())?;
        let available = Meminfo::current()?.mem_available.unwrap_or(0) >> 20;
        println!("figure {available} MiB are left");
        Ok(short)
    }
}

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl Drop for Short {
    fn drop(&mut self) {
        let _ = std::fs::write(HUGE_PAGES, "0");
        for swap in &self.0 {
            let _ = run(&["swapon", swap]);
        }
    }
}
