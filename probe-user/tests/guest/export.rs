//! `pinscope export` on the live kernel: what a real Prometheus server computes agrees with the truth
//! of the workload.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use pinscope::provoke::Truth;
use serde_json::Value;

use crate::{
    support::{Check, Running, run, scratch, start},
    test, test_unless,
};

pub(crate) const EXPORTER: &str = "127.0.0.1:9723";
const SERVER: &str = "127.0.0.1:9090";
/// The longest wait: generous, for emulation.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn trials() -> Vec<Trial> {
    let none = no_prometheus();
    vec![
        test("export_counts_what_the_workload_did", counts),
        test("export_by_cgroup_counts_each_once", cgroups),
        test("export_without_a_hook_has_no_series_of_it", degraded),
        test("export_needs_three_capabilities_and_keeps_none", privileges),
        test_unless(none, "export_to_prometheus_classic", || prometheus(false)),
        test_unless(none, "export_to_prometheus_native", || prometheus(true)),
    ]
}

/// Returns the reason why no Prometheus server can be started.
pub(crate) fn no_prometheus() -> Option<&'static str> {
    let there = run(&["prometheus", "--version"]).is_ok_and(|ran| ran.status.success());
    (!there).then_some("this guest was started without a Prometheus server")
}

/// Sends a GET and returns the body of the response, whose status must be 200.
pub(crate) fn get(address: &str, path: &str, accept: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).context("connecting")?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    Ok(
        if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            unchunked(body)
        } else {
            body.to_owned()
        },
    )
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size) else { break };
        if size == 0 {
            break;
        }
        whole.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

pub(crate) fn wait<T>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if begun.elapsed() > LIMIT => return Err(error.context(what.to_owned())),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

pub(crate) fn exporter(flags: &[&str]) -> Result<Running> {
    let running = start(&[&["pinscope", "export", "--interval", "50ms"], flags].concat())?;
    wait("the exporter", || get(EXPORTER, "/readyz", "*/*"))
        .with_context(|| running.stderr.so_far())?;
    Ok(running)
}

/// Sums all samples whose name and labels contain all these words.
pub(crate) fn sum(metrics: &str, words: &[&str]) -> f64 {
    metrics
        .lines()
        .filter(|l| !l.starts_with('#') && words.iter().all(|w| l.contains(w)))
        .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn provoke(scenario: &str) -> Result<Truth> {
    let ran = run(&[
        "workload", "run", scenario, "--pages", "128", "--rounds", "4", "--json",
    ])?;
    ran.expect_code(0)?;
    ran.json()
}

fn counts() -> Result<()> {
    let exporter = exporter(&[])?;
    let truths = [provoke("memfd-pin")?, provoke("memfd-get")?];
    std::thread::sleep(Duration::from_millis(200));
    // A series that is not known from the start is 0 on its first page.
    get(EXPORTER, "/metrics", "text/plain")?;
    std::thread::sleep(Duration::from_millis(200));
    let metrics = get(EXPORTER, "/metrics", "text/plain")?;
    let mut check = Check::default();
    for (truth, verdict) in truths.iter().zip(["futile_pinned", "futile_referenced"]) {
        let label = format!("verdict=\"{verdict}\"");
        let expected = truth.unmaps_expected as f64;
        for name in [
            "pinscope_unmaps_total{road=\"reclaim\",reclaimer=\"madvise\",memory=\"shmem\"",
            "pinscope_unmapped_pages_total{road=\"reclaim\",reclaimer=\"madvise\",memory=\"shmem\"",
            "pinscope_notifier_calls_total",
            "pinscope_unmap_seconds_count{reclaimer=\"madvise\"",
            "pinscope_unmap_seconds_bucket{le=\"+Inf\",reclaimer=\"madvise\"",
        ] {
            check.same(name, sum(&metrics, &[name, &label]), expected);
        }
    }
    let all: u64 = truths.iter().map(|t| t.unmaps_expected).sum();
    for (what, words) in [
        (
            "subscriber",
            &["pinscope_notifier_seconds_count", "kvm_mmu"][..],
        ),
        ("references", &["pinscope_excess_references_count"]),
    ] {
        check.same(what, sum(&metrics, words), all as f64);
    }
    // An exact bound: a pin is at least 1024 references.
    check.same(
        "le=1023",
        sum(
            &metrics,
            &["pinscope_excess_references_bucket{le=\"1023.0\"}"],
        ),
        truths[1].unmaps_expected as f64,
    );
    // The pins are given back.
    ensure!(metrics.contains("\npinscope_pinned_pages "), "{metrics}");
    check.at_least(
        "reads",
        sum(&metrics, &["pinscope_read_seconds_count"]),
        2.0,
    );
    check.done(&Value::String(metrics))?;
    let openmetrics = get(EXPORTER, "/metrics", "application/openmetrics-text")?;
    ensure!(openmetrics.ends_with("# EOF\n"), "{openmetrics}");
    ensure!(
        openmetrics.contains(" # {reclaimer_comm="),
        "no exemplar: {openmetrics}"
    );
    ended(exporter)
}

/// Ends an exporter with SIGTERM; its exit status must be 0.
pub(crate) fn ended(exporter: Running) -> Result<()> {
    exporter.signal(Signal::SIGTERM)?;
    exporter.wait()?.expect_code(0)
}

fn cgroups() -> Result<()> {
    let exporter = exporter(&["--cgroups", "2"])?;
    let inside = Path::new("/sys/fs/cgroup/export-test");
    std::fs::create_dir(inside)?;
    let script = "echo $$ >/sys/fs/cgroup/export-test/cgroup.procs; exec workload run memfd-pin \
                  --pages 128 --rounds 4 --json";
    let ran = run(&["sh", "-c", script])?;
    ran.expect_code(0)?;
    let there: Truth = ran.json()?;
    let root = provoke("memfd-get")?;
    std::thread::sleep(Duration::from_millis(200));
    let read = || get(EXPORTER, "/metrics", "text/plain");
    let metrics = read()?;
    let mut check = Check::default();
    let name = "pinscope_cgroup_unmaps_total";
    check.same(
        "the test's cgroup",
        sum(&metrics, &[name, "\"/export-test\"", "futile_pinned"]),
        there.unmaps_expected as f64,
    );
    check.same(
        "all cgroups",
        sum(&metrics, &[name, "futile_"]),
        (there.unmaps_expected + root.unmaps_expected) as f64,
    );
    check.same(
        "all",
        sum(&metrics, &["pinscope_unmaps_total", "futile_"]),
        (there.unmaps_expected + root.unmaps_expected) as f64,
    );
    for (of, total) in [
        (
            "pinscope_cgroup_unmapped_pages_total",
            "pinscope_unmapped_pages_total",
        ),
        (
            "pinscope_cgroup_unmap_seconds_total",
            "pinscope_unmap_seconds_sum",
        ),
    ] {
        let (rows, all) = (sum(&metrics, &[of]), sum(&metrics, &[total]));
        check.that((rows - all).abs() < 1e-6 && all > 0.0, || {
            format!("{of}: {rows} of {all}")
        });
    }
    check.done(&Value::String(metrics))?;
    // A removed cgroup has no series, and its counts are not lost.
    std::fs::remove_dir(inside)?;
    wait("the dead cgroup's series", || {
        let metrics = read()?;
        ensure!(!metrics.contains("export-test"), "{metrics}");
        let all = (there.unmaps_expected + root.unmaps_expected) as f64;
        let rows = sum(&metrics, &[name, "futile_"]);
        ensure!(rows == all, "{rows} of {all}");
        Ok(())
    })?;
    ended(exporter)
}

fn degraded() -> Result<()> {
    let exporter = exporter(&["--hook", "notifier_start=off"])?;
    let truth = provoke("memfd-pin")?;
    std::thread::sleep(Duration::from_millis(200));
    let metrics = get(EXPORTER, "/metrics", "text/plain")?;
    ensure!(!metrics.contains("pinscope_notifier_"), "{metrics}");
    ensure!(
        metrics.contains("pinscope_hook_active{hook=\"notifier_start\"} 0"),
        "{metrics}"
    );
    let seen = sum(&metrics, &["pinscope_unmaps_total", "futile_pinned"]);
    ensure!(seen == truth.unmaps_expected as f64, "{seen}: {metrics}");
    let ready = get(EXPORTER, "/readyz", "*/*")?;
    ensure!(ready.contains("notifier_start is disabled"), "{ready}");
    ended(exporter)
}

fn privileges() -> Result<()> {
    let exporter = exporter(&[])?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid()))?;
    let effective = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|l| u64::from_str_radix(l.trim(), 16).ok())
        .context("no CapEff")?;
    // Before 5.19, CAP_BPF (39) is still needed.
    ensure!(effective & !(1 << 39) == 0, "{effective:x} is kept");
    ended(exporter)
}

/// A Prometheus server with its own data directory.
pub(crate) struct Server {
    pub(crate) running: Running,
    home: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.running.child.kill();
        let _ = self.running.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

impl Server {
    /// Starts a server that scrapes the exporter, and evaluates these files of rules, at an
    /// interval.
    pub(crate) fn start(interval: &str, rules: &[(&str, String)], flags: &[&str]) -> Result<Self> {
        let home = scratch("prometheus");
        std::fs::create_dir_all(&home)?;
        for (name, text) in rules {
            std::fs::write(home.join(name), text)?;
        }
        let names: Vec<&str> = rules.iter().map(|(name, _)| *name).collect();
        let config = home.join("prometheus.yml");
        std::fs::write(
            &config,
            format!(
                "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, \
                 evaluation_interval: {interval}}}\nrule_files: [{}]\n\
                 scrape_configs:\n- job_name: pinscope\n  static_configs:\n  \
                 - targets: ['{EXPORTER}']\n",
                names.join(", ")
            ),
        )?;
        let file = format!("--config.file={}", config.display());
        let data = format!("--storage.tsdb.path={}", home.join("data").display());
        let listen = format!("--web.listen-address={SERVER}");
        let mut words = vec!["prometheus", &file, &data, &listen, "--log.level=warn"];
        words.extend(flags);
        let running = start(&words)?;
        Ok(Self { running, home })
    }

    /// Returns the series that a query yields.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<Value>> {
        let coded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let body = get(SERVER, &format!("/api/v1/query?query={coded}"), "*/*")?;
        let answer: Value = serde_json::from_str(&body)?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        let result = answer["data"]["result"].as_array();
        Ok(result.context("no result")?.clone())
    }

    /// Returns the single value of a query.
    pub(crate) fn value(&self, query: &str) -> Result<f64> {
        let result = self.query(query)?;
        let [one] = result.as_slice() else {
            bail!("{query}: {result:?}");
        };
        Ok(one["value"][1].as_str().context("no value")?.parse()?)
    }
}

fn prometheus(native: bool) -> Result<()> {
    let first = exporter(&[])?;
    let flags: &[&str] = if native {
        &["--enable-feature=native-histograms"]
    } else {
        &[]
    };
    let server = Server::start("500ms", &[], flags)?;
    let up = || server.value("sum(up)");
    wait("the server", || {
        let up = up()?;
        ensure!(up == 1.0, "up is {up}");
        Ok(())
    })
    .with_context(|| server.running.stderr.so_far())?;
    // Counts before the first scrape are no increase.
    let [pinned, got] = [provoke("memfd-pin")?, provoke("memfd-get")?];
    let all = (pinned.unmaps_expected + got.unmaps_expected) as f64;
    let mut asked = vec![
        ("sum(pinscope_unmaps_total{verdict=~\"futile_.*\"})", all),
        (
            "sum(pinscope_unmaps_total{verdict=\"futile_pinned\",memory=\"shmem\",reclaimer=\"madvise\"})",
            pinned.unmaps_expected as f64,
        ),
        (
            "sum(pinscope_notifier_calls_total{verdict=~\"futile_.*\"})",
            all,
        ),
        ("sum(pinscope_hook_active{hook=\"try_to_unmap\"})", 1.0),
    ];
    if native {
        asked.extend([
            (
                "histogram_count(pinscope_unmap_seconds{reclaimer=\"madvise\",verdict=\"futile_pinned\"})",
                pinned.unmaps_expected as f64,
            ),
            ("histogram_count(pinscope_excess_references)", all),
            (
                "histogram_sum(pinscope_excess_references)",
                1024.0 * pinned.unmaps_expected as f64 + got.unmaps_expected as f64,
            ),
        ]);
    } else {
        asked.extend([
            (
                "sum(pinscope_unmap_seconds_count{verdict=\"futile_pinned\"})",
                pinned.unmaps_expected as f64,
            ),
            ("sum(pinscope_excess_references_bucket{le=\"+Inf\"})", all),
            (
                "sum(pinscope_excess_references_bucket{le=\"1023.0\"})",
                got.unmaps_expected as f64,
            ),
            (
                "sum(pinscope_excess_references_sum)",
                1024.0 * pinned.unmaps_expected as f64 + got.unmaps_expected as f64,
            ),
        ]);
    }
    for (query, expected) in asked {
        wait(query, || {
            let seen = server.value(query)?;
            ensure!(seen == expected, "{seen} seen, {expected} expected");
            Ok(())
        })?;
    }
    let percentile = server.value(if native {
        "histogram_quantile(0.5, sum(pinscope_excess_references))"
    } else {
        "histogram_quantile(0.99, sum by (le) (pinscope_excess_references_bucket))"
    })?;
    ensure!((0.0..=2047.0).contains(&percentile), "{percentile}");
    restarted(first, &server, all)
}

/// Counters restart at 0 with the process, which the server recognises as a reset.
fn restarted(first: Running, server: &Server, before: f64) -> Result<()> {
    ended(first)?;
    wait("down", || {
        ensure!(server.value("sum(up)")? == 0.0, "still up");
        Ok(())
    })?;
    let second = exporter(&[])?;
    let truth = provoke("memfd-pin")?;
    let total = "sum(pinscope_unmaps_total{verdict=~\"futile_.*\"})";
    wait("after the restart", || {
        let seen = server.value(total)?;
        ensure!(seen == truth.unmaps_expected as f64, "{seen}");
        Ok(())
    })?;
    // resets() sees at least one counter that restarted, and at most one reset of each.
    let resets = server.value(
        "max(resets(pinscope_unmaps_total{verdict=\"futile_referenced\",memory=\"shmem\",reclaimer=\"madvise\"}[10m]))",
    )?;
    ensure!(resets == 1.0, "{resets} resets, after {before}");
    ended(second)
}
