//! Runs programs, reads captures, and collects complaints with both numbers.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt::Debug,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use pinscope::{
    model::{Capture, capture::Group},
    snapshot::HookStatus,
};
use probe_ebpf::Verdict;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::consistent::{self, Missed};

/// The longest time that one program may run: generous, for emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The result of a program.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Parses its stdout, which must be one JSON value.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("stdout is not the expected JSON; {}", self.said()))
    }

    pub(crate) fn said(&self) -> String {
        format!(
            "{}; stdout {:?}; stderr {:?}",
            self.status,
            short(&self.stdout),
            short(&self.stderr)
        )
    }

    /// Fails unless the program ended with `code`.
    pub(crate) fn expect_code(&self, code: i32) -> Result<()> {
        ensure!(
            self.status.code() == Some(code),
            "exit status {code} expected; {}",
            self.said()
        );
        Ok(())
    }

    /// Fails unless stderr is one sentence for people and at most a remedy, without anything that
    /// only a developer understands.
    pub(crate) fn expect_one_plain_sentence(&self) -> Result<()> {
        let lines: Vec<_> = self
            .stderr
            .lines()
            .filter(|line| !line.is_empty())
            .collect();
        ensure!(
            (matches!(lines[..], [first] if first.starts_with("pinscope: "))
                || matches!(lines[..], [first, second]
                    if first.starts_with("pinscope: ") && second.trim_start().starts_with("remedy: ")))
                && !["panicked", "Error {", "Os {", "backtrace"]
                    .iter()
                    .any(|w| self.stderr.contains(w)),
            "no plain sentence: {:?}",
            self.stderr
        );
        Ok(())
    }

    /// Fails unless the program ended with 77, one plain sentence with these words, and no output.
    pub(crate) fn expect_refused(&self, words: &[&str]) -> Result<()> {
        self.expect_code(77)?;
        self.expect_one_plain_sentence()?;
        for word in words {
            ensure!(self.stderr.contains(word), "no {word}: {}", self.said());
        }
        ensure!(self.stdout.is_empty(), "{}", self.said());
        Ok(())
    }
}

fn short(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(1500)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// A running program, whose outputs are read meanwhile.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// Starts a program.
pub(crate) fn start<S: AsRef<OsStr>>(words: &[S]) -> Result<Running> {
    let (program, arguments) = words.split_first().context("no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.as_ref().display()))?;
    let stdout = Output::of(child.stdout.take().context("no stdout")?);
    let stderr = Output::of(child.stderr.take().context("no stderr")?);
    Ok(Running {
        child,
        stdout,
        stderr,
    })
}

/// One output of a program, read in the background.
pub(crate) struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: mpsc::Receiver<()>,
}

impl Output {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let (sender, ended) = mpsc::channel();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
            let _ = sender.send(());
        });
        Self { bytes, ended }
    }

    pub(crate) fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Waits for the whole output. A child of the program may keep it open, but not for long.
    fn whole(&self) -> Result<String> {
        self.ended
            .recv_timeout(Duration::from_secs(10))
            .context("an output is still open after the program's end")?;
        Ok(self.so_far())
    }
}

impl Running {
    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().cast_signed())
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        nix::sys::signal::kill(self.pid(), signal).with_context(|| format!("sending {signal}"))
    }

    /// Waits for the program to end, and for its outputs to be closed.
    pub(crate) fn wait(mut self) -> Result<Ran> {
        let end = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                self.child.kill()?;
                bail!("the program did not end within {LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ok(Ran {
            status,
            stdout: self.stdout.whole()?,
            stderr: self.stderr.whole()?,
        })
    }

    /// Waits until a capture has attached its probes and dropped its privileges: NDJSON then
    /// begins, and `-v` logs it.
    pub(crate) fn attached(&mut self) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while !self.stdout.so_far().contains("\"start\"")
            && !self.stderr.so_far().contains("hooks active")
        {
            let ended = self.child.try_wait()?.is_some();
            ensure!(
                !ended && Instant::now() < end,
                "the probes were not attached: {}",
                self.stderr.so_far()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run<S: AsRef<OsStr>>(words: &[S]) -> Result<Ran> {
    let shown: Vec<_> = words
        .iter()
        .map(|w| w.as_ref().to_string_lossy().into_owned())
        .collect();
    start(words)?.wait().with_context(|| shown.join(" "))
}

/// Runs the workload alone.
pub(crate) fn workload(words: &[&str]) -> Result<Ran> {
    run(&[&["workload"], words].concat())
}

/// Returns the name of a file for this test; no such file exists.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("guest-test-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// A capture of a command.
pub(crate) struct Captured {
    pub(crate) ran: Ran,
    pub(crate) capture: Capture,
    pub(crate) json: Value,
}

/// Runs `pinscope capture FLAGS -- CMD` and reads the file it wrote. The capture must be consistent,
/// and CMD must have succeeded.
pub(crate) fn capture(flags: &[&str], cmd: &[&str]) -> Result<Captured> {
    let captured = capture_of_any(flags, cmd)?;
    captured.ran.expect_code(0)?;
    Ok(captured)
}

/// Does the same as [`capture`], but calls may be missed.
pub(crate) fn capture_missing(flags: &[&str], cmd: &[&str], may: Missed) -> Result<Captured> {
    let (text, ran) = capture_text(flags, cmd)?;
    ran.expect_code(0)?;
    read_missing(&text, ran, may)
}

/// Does the same as [`capture`] for a CMD that may fail.
pub(crate) fn capture_of_any(flags: &[&str], cmd: &[&str]) -> Result<Captured> {
    let (text, ran) = capture_text(flags, cmd)?;
    read(&text, ran)
}

fn capture_text(flags: &[&str], cmd: &[&str]) -> Result<(String, Ran)> {
    let file = scratch("capture.json");
    let name = file.to_str().context("no UTF-8")?;
    let fixed = ["pinscope", "capture", "--format", "json", "-o", name];
    let ran = run(&[&fixed[..], flags, &["--"], cmd].concat())?;
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("no capture was written; {}", ran.said()))?;
    let _ = std::fs::remove_file(&file);
    Ok((text, ran))
}

/// Reads a capture and checks that it is consistent.
pub(crate) fn read(text: &str, ran: Ran) -> Result<Captured> {
    read_missing(text, ran, Missed::Never)
}

fn read_missing(text: &str, ran: Ran, may: Missed) -> Result<Captured> {
    let capture = pinscope::render::json::read(text)
        .with_context(|| format!("{:?}; {}", short(text), ran.said()))?;
    // NDJSON has the report in its last line.
    let mut json: Value = match serde_json::from_str(text) {
        Ok(json) => json,
        Err(_) => serde_json::from_str(text.lines().last().unwrap_or_default())?,
    };
    json.as_object_mut().context("no object")?.remove("type");
    let mut check = Check::default();
    consistent::check(&capture, &json, may, &mut check);
    check.done(&json)?;
    Ok(Captured { ran, capture, json })
}

/// Complains if JSON doesn't match its schema.
pub(crate) fn meets(schema: &str, json: &Value, check: &mut Check) {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    for error in validator.iter_errors(json) {
        check.complain(format!("schema: {}: {error}", error.instance_path()));
    }
}

/// Counts by the verdict's name.
pub(crate) type Seen = BTreeMap<&'static str, u64>;

/// Sums the groups that `which` accepts: folios by verdict, and notifier calls.
pub(crate) fn sum(capture: &Capture, which: impl Fn(&Group) -> bool) -> (Seen, u64) {
    let mut seen = Seen::new();
    let mut calls = 0;
    for group in capture.groups.iter().flatten().filter(|g| which(g)) {
        for (verdict, tally) in group.by_verdict.iter() {
            *seen.entry(verdict.name()).or_default() += tally.folios;
        }
        calls += group.notifier_calls.unwrap_or(0);
    }
    (seen, calls)
}

pub(crate) fn is_victim(group: &Group, pid: u32) -> bool {
    group.victim.as_ref().is_some_and(|v| v.pid == Some(pid))
}

/// Returns the folios of one verdict in the whole capture; `None` if it isn't measured.
pub(crate) fn total(capture: &Capture, verdict: Verdict) -> Option<u64> {
    capture.unmaps.folios(verdict)
}

pub(crate) fn futile(capture: &Capture) -> u64 {
    [Verdict::FutilePinned, Verdict::FutileReferenced]
        .into_iter()
        .filter_map(|v| total(capture, v))
        .sum()
}

pub(crate) fn hook<'a>(capture: &'a Capture, name: &str) -> Result<&'a HookStatus> {
    capture
        .hooks
        .iter()
        .find(|h| h.name == name)
        .with_context(|| format!("hooks has no {name}"))
}

/// Collects complaints, so that one failure shows all of them.
#[derive(Default)]
pub(crate) struct Check(Vec<String>);

impl Check {
    pub(crate) fn complain(&mut self, words: String) {
        self.0.push(words);
    }

    pub(crate) fn same<T: PartialEq + Debug>(&mut self, what: &str, seen: T, expected: T) {
        if seen != expected {
            self.complain(format!("{what}: {seen:?} seen, {expected:?} expected"));
        }
    }

    pub(crate) fn at_least<T: PartialOrd + Debug>(&mut self, what: &str, seen: T, least: T) {
        if seen < least {
            self.complain(format!(
                "{what}: {seen:?} seen, at least {least:?} expected"
            ));
        }
    }

    pub(crate) fn that(&mut self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.complain(words());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the complaints.
    pub(crate) fn complaints(self) -> Vec<String> {
        self.0
    }

    /// Fails if there are complaints, and shows the parts of the capture that have counts.
    pub(crate) fn done(self, json: &Value) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut parts = serde_json::Map::new();
        for key in [
            "unmaps",
            "notifier",
            "groups",
            "victims",
            "subscribers",
            "lost",
            "in_flight",
            "hooks",
        ] {
            if let Some(part) = json.get(key) {
                parts.insert(key.to_owned(), part.clone());
            }
        }
        bail!("{}\n{}", self.0.join("\n"), Value::Object(parts));
    }
}

/// Polls until `holds` returns true or five seconds have passed, and returns whether it did.
pub(crate) fn within_5_s(mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the major and minor version of the running kernel.
pub(crate) fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Returns the lines of a kernel file that contain one of these words.
pub(crate) fn lines_with(path: &str, words: &[&str]) -> Vec<String> {
    let text = std::fs::read(Path::new(path)).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| words.iter().any(|word| line.contains(word)))
        .map(str::to_owned)
        .collect()
}
