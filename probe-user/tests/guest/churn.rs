//! Hosts on which processes and cgroups come and go, or on which memory is short: every count
//! reaches the totals, and pinscope's own needs stay small.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::time::{clock_getcpuclockid, clock_gettime};
use pinscope::{kernel::host::preempts, provoke::churn::ChurnReport};
use procfs::{Current, Meminfo};
use serde_json::Value;

use crate::{
    consistent::{Missed, missed},
    export::{EXPORTER, ended, get, wait},
    sample::{BATCH, Sample, counted, values},
    soak::{self, Plan, Soak, exporter},
    support::{Check, Running, capture_missing, futile, run, start},
    test, test_unless,
};

pub(crate) fn trials() -> Vec<Trial> {
    let preempting = (preempts() != Some(false))
        .then_some("this kernel misses calls for other reasons, and not the returns alone");
    vec![
        test("export_under_churn_is_bounded_and_lossless", export),
        test(
            "capture_of_more_processes_than_keys_is_exact",
            more_than_keys,
        ),
        test_unless(preempting, "missed_returns_leave_no_claims", claims),
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
    // With every kind of series that the churn will have.
    let words = ["--processes", "4", "--cgroups", "2", "--steady", "2"];
    let (earlier, held) = soak::churn(&words.map(str::to_owned))?;
    drop(held);
    let idle = cost(&exporter)?;
    let crowd = Crowd::new(DIRECTORIES)?;
    let mut soak = Soak::run(
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
    soak.include(&earlier);
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
    let may = if preempts() == Some(false) {
        Missed::Never
    } else {
        Missed::Reported
    };
    let captured = capture_missing(&[], &[&words[..], &[&processes]].concat(), may)?;
    let truth: ChurnReport = captured.ran.json()?;
    let capture = &captured.capture;
    let mut check = Check::default();
    let short = BATCH * missed(capture, "shrink_list")
        + missed(capture, "try_to_unmap")
        + missed(capture, "try_to_unmap_one");
    let in_groups = capture.groups.iter().flatten();
    let of_victims = capture.victims.iter().flatten();
    for (what, seen, expected) in [
        ("unmaps", capture.unmaps.total, truth.unmaps_expected),
        ("pages", capture.unmaps.pages, truth.pages_expected),
        ("futile", Some(futile(capture)), truth.futile_expected),
        (
            "unmaps of all groups",
            Some(in_groups.map(|g| g.total().folios).sum()),
            truth.unmaps_expected,
        ),
        (
            "mappings of all victims",
            Some(of_victims.map(|v| v.mappings).sum()),
            truth.futile_expected,
        ),
    ] {
        let seen = seen.unwrap_or(0);
        check.that((seen..=seen + short).contains(&expected), || {
            format!("{what}: {seen} seen, {short} missed at most, {expected} expected")
        });
    }
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
    let (truth, _held) = soak::churn(&words)?;
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
        // A page reads the counts before the claims: the next one has what those tasks counted.
        Ok(_) => {
            std::thread::sleep(Duration::from_millis(500));
            read()?
        }
        Err(error) => {
            check.complain(format!("{error:#}"));
            read()?
        }
    };
    // A missed return has no time.
    let timed: f64 = values(&metrics, "pinscope_unmap_seconds_count", |_| true).sum();
    let untimed = truth.unmaps_expected as f64 - timed;
    let said: f64 = values(&metrics, "pinscope_hook_missed_total", |_| true).sum();
    println!("figure {untimed} returns of unmaps missed; {said} missed by the exporter's count");
    check.at_least("returns missed, for this to show anything", untimed, 1.0);
    counted(
        "unmaps",
        sample.unmaps,
        truth.unmaps_expected,
        &metrics,
        &mut check,
    );
    check.done(&Value::String(metrics))?;
    ended(exporter)
}

/// The memory that is left beside the programs that run, for the machine to be short of it.
const LEFT_MIB: u64 = 96;

/// While the kernel kills processes because memory is short, the exporter goes on counting and serving.
fn short_of_memory() -> Result<()> {
    let lock = run(&["pinscope", "export", "--help"])?
        .stdout
        .contains("--lock-memory");
    let flags: &[&str] = if lock { &["--lock-memory"] } else { &[] };
    let exporter = exporter(&[flags, &["--cgroups", "5", "--interval", "50ms"]].concat())?;
    // The workload inherits this process's.
    let spared = Spared::everybody()?;
    // As the unit and the chart have it.
    adjust(exporter.pid().as_raw(), "-900")?;
    let done = press_hard(&exporter);
    drop(spared);
    let (truth, kills, scrapes) = done?;
    let (_, metrics) = Sample::take(Instant::now(), 0)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid()))?;
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.and_then(|l| l.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    let [peak, resident, locked] = ["VmHWM:", "VmRSS:", "VmLck:"].map(kib);
    println!(
        "figure {kills} processes killed, {scrapes} scrapes meanwhile; the exporter's memory: \
         {resident} KiB resident, at most {peak} KiB; {locked} KiB locked"
    );
    let mut check = Check::default();
    if lock {
        check.at_least("locked KiB", locked, 1);
    }
    check.at_least("processes killed", kills, 1);
    check.at_least("scrapes meanwhile", scrapes, 1);
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
        counted(memory, seen, expected, &metrics, &mut check);
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
    // While the memory of one that was killed is not free yet, the kernel kills another.
    let mut bystanders = Vec::new();
    for _ in 0..BYSTANDERS {
        let bystander = start(&["sleep", "1000"])?;
        adjust(bystander.pid().as_raw(), "500")?;
        bystanders.push(bystander);
    }
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

/// More than the kernel kills.
const BYSTANDERS: usize = 20;

fn adjust(pid: i32, to: &str) -> std::io::Result<()> {
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), to)
}

/// Processes that the kernel does not kill when memory is short, until dropped.
struct Spared(Vec<i32>);

impl Spared {
    fn everybody() -> Result<Self> {
        let mut spared = Self(Vec::new());
        for process in procfs::process::all_processes()? {
            let pid = process?.pid;
            let path = format!("/proc/{pid}/oom_score_adj");
            if std::fs::read_to_string(path).is_ok_and(|now| now.trim() == "0") {
                adjust(pid, "-1000")?;
                spared.0.push(pid);
            }
        }
        Ok(spared)
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = adjust(*pid, "0");
        }
    }
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
