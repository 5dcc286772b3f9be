//! The kernel's own tracer as an independent second observer of the same events.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use crate::{
    scenarios::{capture_scenario, counted, references},
    support::{Check, hook},
    test,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for attach in ["kprobe", "fentry"] {
        for scenario in [
            "memfd-pin",
            "file-get",
            "memfd-half-pin",
            "lazyfree-get",
            "anon-get",
        ] {
            trials.push(test(
                format!("ftrace_and_{attach}_agree_on_{scenario}"),
                move || agree(attach, scenario),
            ));
        }
    }
    trials
}

const TRACEFS: &str = "/sys/kernel/tracing";

/// The names and the definitions of the probes.
const PROBES: [(&str, &str); 6] = [
    ("ttu", "p:pst/ttu try_to_unmap flags=$arg2:u32"),
    ("ttur", "r:pst/ttur try_to_unmap"),
    ("one", "p:pst/one try_to_unmap_one"),
    ("mns", "p:pst/mns __mmu_notifier_invalidate_range_start"),
    ("mnsr", "r:pst/mnsr __mmu_notifier_invalidate_range_start"),
    ("rmr", "r:pst/rmr __remove_mapping ret=$retval:s32"),
];

/// An instance of the tracer with kprobe events of its own, removed on drop.
pub(crate) struct Tracer {
    instance: PathBuf,
}

impl Tracer {
    /// Defines the probes without enabling them.
    pub(crate) fn new() -> Result<Self> {
        let instance = Path::new(TRACEFS).join("instances/pinscope-test");
        fs::create_dir(&instance).context("making an instance of the tracer")?;
        let tracer = Self { instance };
        for (_, definition) in PROBES {
            append(&Path::new(TRACEFS).join("kprobe_events"), definition)?;
        }
        Ok(tracer)
    }

    fn event(&self, name: &str, file: &str) -> PathBuf {
        self.instance.join("events/pst").join(name).join(file)
    }

    /// Records every event from now on.
    pub(crate) fn record(&self) -> Result<()> {
        write(&self.instance.join("buffer_size_kb"), "4096")?;
        for (name, _) in PROBES {
            write(&self.event(name, "enable"), "1")?;
        }
        Ok(())
    }

    /// Counts reclaim's calls of `try_to_unmap` from now on.
    pub(crate) fn count_unmaps(&self) -> Result<()> {
        let excluded = excluded_flags();
        let filter = format!("(flags & {BATCH_FLUSH}) && !(flags & {excluded})");
        write(&self.event("ttu", "filter"), &filter)?;
        write(&self.event("ttu", "enable"), "1")
    }

    /// Returns the number of these calls from the statistics of the buffers, which include events
    /// that no longer fit.
    pub(crate) fn unmaps(&self) -> Result<u64> {
        let mut sum = 0;
        for stats in self.stats()? {
            for name in ["entries", "overrun", "commit overrun", "dropped events"] {
                let line = stats
                    .lines()
                    .find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
                sum += line
                    .with_context(|| format!("no {name} in {stats}"))?
                    .parse::<u64>()?;
            }
        }
        Ok(sum)
    }

    /// Reads the statistics of each CPU's buffer.
    fn stats(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.instance.join("per_cpu"))? {
            all.push(fs::read_to_string(entry?.path().join("stats"))?);
        }
        Ok(all)
    }

    /// Returns what was recorded of one task.
    pub(crate) fn of_task(&self, tid: u32) -> Result<Counts> {
        for stats in self.stats()? {
            let lost = stats
                .lines()
                .filter(|l| l.starts_with("overrun:") || l.starts_with("dropped events:"))
                .any(|l| !l.ends_with(": 0"));
            ensure!(!lost, "the tracer itself lost events: {stats}");
        }
        let text = fs::read_to_string(self.instance.join("trace"))?;
        count(&text, tid)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        for (name, _) in PROBES {
            let _ = write(&self.event(name, "enable"), "0");
        }
        let _ = fs::remove_dir(&self.instance);
        for (name, _) in PROBES {
            let gone = format!("-:pst/{name}");
            let _ = append(&Path::new(TRACEFS).join("kprobe_events"), &gone);
        }
    }
}

fn write(path: &Path, words: &str) -> Result<()> {
    fs::write(path, words).with_context(|| format!("writing {words:?} to {}", path.display()))
}

fn append(path: &Path, words: &str) -> Result<()> {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().append(true).open(path)?;
    file.write_all(format!("{words}\n").as_bytes())
        .with_context(|| format!("appending {words:?} to {}", path.display()))
}

/// What ftrace saw of one task.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Calls of `try_to_unmap` by reclaim.
    pub(crate) unmaps: u64,
    /// Calls of `try_to_unmap_one` within them.
    pub(crate) walks: u64,
    /// Notifier calls within them.
    pub(crate) notifier_calls: u64,
    /// Notifier calls of the task elsewhere.
    pub(crate) other_notifier_calls: u64,
    /// Failures of `__remove_mapping` on a folio that was just unmapped.
    pub(crate) failures: u64,
    /// Successes of `__remove_mapping` on such a folio.
    pub(crate) removals: u64,
    /// Other calls of `__remove_mapping`: fadvise drops unmapped pages through it.
    pub(crate) other_removals: u64,
}

/// The flag with which reclaim calls `try_to_unmap`; [`excluded_flags`] are those it never sets.
const BATCH_FLUSH: u32 = 64;

fn excluded_flags() -> u32 {
    // 5.10: MIGRATION and SPLIT_FREEZE; later: IGNORE_MLOCK and RMAP_LOCKED.
    if crate::support::kernel() < (5, 14) {
        1 | 256
    } else {
        8 | 128
    }
}

fn by_reclaim(flags: u32) -> bool {
    flags & BATCH_FLUSH != 0 && flags & excluded_flags() == 0
}

/// Parses lines such as `workload-123 [000] d..2. 12.345678: ttu: (try_to_unmap+0x0/0x90) flags=64`.
fn count(trace: &str, tid: u32) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut inside = false;
    let mut unmapped = false;
    let tail = format!("-{tid}");
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        let Some((task, rest)) = line.split_once(" [") else {
            bail!("cannot parse a line of the trace: {line}");
        };
        if !task.trim_end().ends_with(&tail) {
            continue;
        }
        let mut words = rest
            .split_whitespace()
            .skip_while(|w| !w.ends_with(':'))
            .skip(1);
        let event = words.next().unwrap_or_default();
        let number = |name: &str| -> Result<i64> {
            let value = line.split_once(name).map(|(_, rest)| rest.trim());
            Ok(value
                .with_context(|| format!("no {name} in {line}"))?
                .parse()?)
        };
        match event {
            "ttu:" => {
                inside = by_reclaim(u32::try_from(number("flags=")?)?);
                counts.unmaps += u64::from(inside);
                unmapped = inside;
            }
            "ttur:" => inside = false,
            "one:" => counts.walks += u64::from(inside),
            "mns:" if inside => counts.notifier_calls += 1,
            "mns:" => counts.other_notifier_calls += 1,
            "mnsr:" => {}
            "rmr:" if !std::mem::take(&mut unmapped) => counts.other_removals += 1,
            "rmr:" if number("ret=")? == 0 => counts.failures += 1,
            "rmr:" => counts.removals += 1,
            _ => bail!("cannot parse a line of the trace: {line}"),
        }
    }
    Ok(counts)
}

fn agree(attach: &str, name: &str) -> Result<()> {
    let tracer = Tracer::new()?;
    tracer.record()?;
    let (captured, truth) = capture_scenario(&["--attach", attach], name)?;
    let traced = tracer.of_task(truth.tid)?;
    drop(tracer);
    let capture = &captured.capture;
    let mut check = Check::default();
    counted(capture, &truth, &mut check);
    references(capture, &truth, &mut check);
    check.same("unmaps", capture.unmaps.total, Some(traced.unmaps));
    check.same("ftrace's unmaps", traced.unmaps, truth.unmaps_expected);
    check.same(
        "notifier calls",
        capture.notifier.calls,
        Some(traced.notifier_calls),
    );
    check.same(
        "ftrace's failures of __remove_mapping",
        traced.failures,
        truth.remove_mapping_failures_expected,
    );
    let hits = |name: &str| hook(capture, name).map(|h| h.hits);
    check.same(
        "walks of VMAs",
        hits("try_to_unmap_one")?,
        Some(traced.walks),
    );
    check.same(
        "calls of __remove_mapping",
        hits("remove_mapping")?,
        Some(traced.failures + traced.removals),
    );
    check
        .done(&captured.json)
        .with_context(|| format!("{traced:?}"))
}
