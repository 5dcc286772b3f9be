//! The exporter beside a churn of processes and cgroups: what it serves, sample by sample, against
//! what the workload knows for certain. Small for a test; by the hundred thousand for `cargo xtask
//! soak`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use pinscope::{kernel::host::preempts, provoke::churn::ChurnReport};
use serde::Deserialize;

use crate::{
    export::{EXPORTER, ended, get, wait},
    sample::{MAPS, Sample, counted, values},
    support::{Check, Running, start},
};

/// The keys that may be left once everything that came and went has been harvested: those of the
/// long-lived processes, of the system, and of the shared counts.
const LEFT: f64 = 128.0;
/// The memory by which the exporter may grow while processes and cgroups come and go, in bytes:
/// room for the keys between two harvests, but not for those of a soak.
const GROWTH: f64 = (8 << 20) as f64;

/// A churn, and who watches it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) processes: u64,
    pub(crate) cgroups: u64,
    pub(crate) pages: u64,
    pub(crate) rounds: u64,
    pub(crate) steady: u64,
    /// The periods of the scrapers, in milliseconds.
    pub(crate) scrapers: Vec<u64>,
}

/// A workload that has done its part, and holds its long-lived cgroups until this value is dropped.
pub(crate) struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs `workload churn` with these words until it has reported.
pub(crate) fn churn(words: &[String]) -> Result<(ChurnReport, Held)> {
    let mut child = Command::new("workload")
        .args(["churn", "--json", "--hold"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting workload")?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("no stdout")?;
    let stdin = child.stdin.take();
    BufReader::new(stdout).read_line(&mut line)?;
    let held = Held { child, stdin };
    let report = serde_json::from_str(&line)
        .with_context(|| format!("workload churn {words:?} reported {line:?}"))?;
    Ok((report, held))
}

/// What was seen of one churn.
pub(crate) struct Soak {
    pub(crate) truth: ChurnReport,
    /// All scrapes, in the order of their time.
    pub(crate) samples: Vec<Sample>,
    /// Scrapes that failed.
    failures: Vec<String>,
    /// The scrape after the last key was harvested, or after the longest wait for it.
    pub(crate) last: Sample,
    /// The same as text.
    pub(crate) metrics: String,
    _held: Held,
}

impl Soak {
    /// Runs the churn beside an exporter that is already running.
    pub(crate) fn run(plan: &Plan, progress: bool) -> Result<Self> {
        let begun = Instant::now();
        let samples = Mutex::new(Vec::new());
        let failures = Mutex::new(Vec::new());
        let over = AtomicBool::new(false);
        let words: Vec<String> = [
            ("--processes", plan.processes),
            ("--cgroups", plan.cgroups),
            ("--pages", plan.pages),
            ("--rounds", plan.rounds),
            ("--steady", plan.steady),
        ]
        .iter()
        .flat_map(|(flag, n)| [(*flag).to_owned(), n.to_string()])
        .collect();
        let churned = std::thread::scope(|scope| {
            for (number, period) in plan.scrapers.iter().enumerate() {
                let (samples, failures, over) = (&samples, &failures, &over);
                scope.spawn(move || {
                    let mut said = Instant::now();
                    while !over.load(Ordering::Relaxed) {
                        let next = Instant::now() + Duration::from_millis(*period);
                        match Sample::take(begun, *period) {
                            Ok((sample, _)) => {
                                if progress && number == 0 && said.elapsed().as_secs() >= 10 {
                                    said = Instant::now();
                                    eprintln!("{}", sample.line());
                                }
                                samples.lock().unwrap().push(sample);
                            }
                            Err(error) => failures.lock().unwrap().push(format!("{error:#}")),
                        }
                        std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    }
                });
            }
            let churned = churn(&words);
            over.store(true, Ordering::Relaxed);
            churned
        });
        let (truth, held) = churned?;
        let (last, metrics) = settled(begun)?;
        let mut samples = samples.into_inner().unwrap();
        samples.push(last.clone());
        samples.sort_by(|a, b| a.at.total_cmp(&b.at));
        Ok(Self {
            truth,
            samples,
            failures: failures.into_inner().unwrap(),
            last,
            metrics,
            _held: held,
        })
    }

    /// Takes in what another churn did before, beside the same exporter.
    pub(crate) fn include(&mut self, earlier: &ChurnReport) {
        let truth = &mut self.truth;
        truth.futile_expected += earlier.futile_expected;
        truth.freed_expected += earlier.freed_expected;
        truth.unmaps_expected += earlier.unmaps_expected;
        truth.pages_expected += earlier.pages_expected;
    }

    /// Complains about everything that must hold for every churn.
    pub(crate) fn check(&self, check: &mut Check) {
        check.same("failed scrapes", self.failures.as_slice(), &[]);
        counted(
            "unmaps",
            self.last.unmaps,
            self.truth.unmaps_expected,
            &self.metrics,
            check,
        );
        let (futile, freed) = (self.truth.futile_expected, self.truth.freed_expected);
        for (what, name, label, n) in [
            (
                "futile",
                "pinscope_unmaps_total",
                "futile_referenced",
                futile,
            ),
            ("freed", "pinscope_unmaps_total", "freed", freed),
            (
                "futile pages",
                "pinscope_unmapped_pages_total",
                "futile_referenced",
                futile,
            ),
        ] {
            let label = format!("verdict=\"{label}\"");
            let seen: f64 = values(&self.metrics, name, |l| l.contains(&label)).sum();
            counted(what, seen, n, &self.metrics, check);
        }
        if !check.is_empty() {
            let counted = |l: &&str| l.starts_with("pinscope_unmaps_total") && !l.ends_with(" 0");
            let all: Vec<_> = self.metrics.lines().filter(counted).collect();
            check.complain(format!("all unmaps: {all:?}"));
        }
        let odd: Vec<_> = self
            .samples
            .iter()
            .filter(|s| s.unmaps != s.by_cgroup)
            .map(|s| format!("at {:.1} s: {} and {}", s.at, s.unmaps, s.by_cgroup))
            .collect();
        check.that(odd.is_empty(), || {
            format!(
                "unmaps and their sum over the cgroups differ in {} of {} scrapes: {:?}",
                odd.len(),
                self.samples.len(),
                &odd[..odd.len().min(5)]
            )
        });
        let fewer = self
            .samples
            .windows(2)
            // Two scrapers may be answered in another order than that of their own clocks.
            .filter(|w| w[0].period == w[1].period && w[1].unmaps < w[0].unmaps)
            .count();
        check.same("scrapes at which the total had decreased", fewer, 0);
        for steady in &self.truth.steady {
            let label = format!("cgroup=\"{}\"", steady.cgroup.path);
            let name = "pinscope_cgroup_unmaps_total";
            let seen: f64 = values(&self.metrics, name, |l| l.contains(&label)).sum();
            counted(
                &steady.cgroup.path,
                seen,
                steady.futile,
                &self.metrics,
                check,
            );
        }
        for map in ["groups", "victims"] {
            let (most, room) = (self.most(map), self.room(map));
            check.that(most.is_some_and(|n| n > 0.0) && most < room, || {
                format!("{map} had up to {most:?} of {room:?} keys")
            });
            let left = self.last.entries(map);
            check.that(left.is_some_and(|n| n <= LEFT), || {
                format!("{map} has {left:?} keys left, at most {LEFT} expected")
            });
        }
        check.same("tasks", self.last.entries("tasks"), Some(0.0));
        check.same("lost", self.last.lost, 0.0);
        if preempts() == Some(false) {
            check.same("missed", self.last.missed, 0.0);
        }
        let (early, late) = (self.resident_early(), self.last.resident);
        check.that(late <= early + GROWTH, || {
            format!("resident memory grew from {early} to {late} bytes")
        });
    }

    /// The most keys that a map had at any scrape.
    fn most(&self, map: &str) -> Option<f64> {
        let entries = self.samples.iter().filter_map(|s| s.entries(map));
        entries.reduce(f64::max)
    }

    /// The keys that a map has room for.
    fn room(&self, map: &str) -> Option<f64> {
        let label = format!("map=\"{map}\"");
        values(&self.metrics, "pinscope_map_max_entries", |l| {
            l.contains(&label)
        })
        .next()
    }

    /// The resident memory after a tenth of the churn, when everything has been done once.
    fn resident_early(&self) -> f64 {
        let at = self.samples.len() / 10;
        self.samples.get(at).map_or(0.0, |s| s.resident)
    }

    /// What a person wants to know, each as `NAME | VALUE`.
    pub(crate) fn figures(&self) -> Vec<String> {
        let truth = &self.truth;
        let difference = self.last.unmaps - truth.unmaps_expected as f64;
        let odd = self
            .samples
            .iter()
            .filter(|s| s.unmaps != s.by_cgroup)
            .count();
        let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
        let most = self.samples.iter().map(|s| s.resident).fold(0.0, f64::max);
        let mut figures = vec![
            format!(
                "short-lived processes, cgroups | {} in {}, within {:.0} s",
                truth.processes, truth.cgroups, truth.seconds
            ),
            format!(
                "unmaps by the workload's count | {} ({} futile, {} freed)",
                truth.unmaps_expected, truth.futile_expected, truth.freed_expected
            ),
            format!(
                "unmaps by the exporter's count | {} (difference {difference})",
                self.last.unmaps
            ),
            format!(
                "scrapes at which the sum over cgroups was not the total | {odd} of {}",
                self.samples.len()
            ),
        ];
        for map in MAPS {
            let word = |n: Option<f64>| n.map_or("not exported".to_owned(), |n| n.to_string());
            figures.push(format!(
                "keys in `{map}`: most, at the end, room | {}, {}, {}",
                word(self.most(map)),
                word(self.last.entries(map)),
                word(self.room(map))
            ));
        }
        figures.push(format!(
            "resident memory: after a tenth, most, at the end | {}, {}, {}",
            mib(self.resident_early()),
            mib(most),
            mib(self.last.resident)
        ));
        figures.push(format!(
            "lost counts, missed calls, failed scrapes | {}, {}, {}",
            self.last.lost,
            self.last.missed,
            self.failures.len()
        ));
        figures.push(format!(
            "CPU time of the exporter | {:.1} s of {:.0} s",
            self.last.cpu, self.last.at
        ));
        let mut periods: Vec<u64> = self.samples.iter().map(|s| s.period).collect();
        periods.sort_unstable();
        periods.dedup();
        for period in periods.into_iter().filter(|p| *p > 0) {
            let of = self.samples.iter().filter(|s| s.period == period);
            let mut took: Vec<f64> = of.map(|s| s.took * 1000.0).collect();
            took.sort_by(f64::total_cmp);
            let part = |p: f64| took[((took.len() - 1) as f64 * p).round() as usize];
            figures.push(format!(
                "a scrape every {period} ms: p50, p99, max of {} | {:.0} ms, {:.0} ms, {:.0} ms",
                took.len(),
                part(0.5),
                part(0.99),
                part(1.0)
            ));
        }
        figures
    }
}

/// Scrapes until everything that is gone has been harvested; gives up after 20 seconds.
fn settled(begun: Instant) -> Result<(Sample, String)> {
    let waited = Instant::now();
    loop {
        // The exporter reads the kernel at most once per interval.
        std::thread::sleep(Duration::from_millis(1100));
        let (sample, metrics) = Sample::take(begun, 0)?;
        let left = |map| sample.entries(map).is_some_and(|n| n > LEFT);
        let unexported = sample.entries("groups").is_none();
        if unexported
            || waited.elapsed().as_secs() > 20
            || !(left("groups") || left("victims") || sample.entries("tasks") != Some(0.0))
        {
            return Ok((sample, metrics));
        }
    }
}

/// Starts an exporter with these flags.
pub(crate) fn exporter(flags: &[&str]) -> Result<Running> {
    let running = start(&[&["pinscope", "export"], flags].concat())?;
    wait("the exporter", || get(EXPORTER, "/readyz", "*/*"))
        .with_context(|| running.stderr.so_far())?;
    Ok(running)
}

/// Runs a soak, and prints its samples (`sample CSV`) and figures (`figure NAME | VALUE`).
pub(crate) fn helper(plan: &str) -> Result<()> {
    let plan: Plan = serde_json::from_str(plan).context("the plan")?;
    ensure!(!plan.scrapers.is_empty(), "no scraper");
    let exporter = exporter(&["--cgroups", "20"])?;
    let soak = Soak::run(&plan, true)?;
    println!("sample {}", Sample::HEADER);
    for sample in &soak.samples {
        println!("sample {}", sample.line());
    }
    for figure in soak.figures() {
        println!("figure {figure}");
    }
    let mut check = Check::default();
    soak.check(&mut check);
    let complaints = check.complaints();
    for complaint in &complaints {
        println!("figure not as it must be | {complaint}");
    }
    ended(exporter)?;
    if !complaints.is_empty() {
        bail!("{}", complaints.join("; "));
    }
    Ok(())
}
