//! The thread that owns the probes. Whoever asks gets the newest reading; the kernel is read
//! at most once in an interval, however many ask.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use axum::body::Bytes;
use probe_ebpf::Verdict;
use tokio::sync::oneshot;

use super::config::Settings;
use crate::{
    kernel::probes::Probes,
    model::ranking::Top,
    recording::{Frames, Recording},
    render::metrics::{Family, Format, Input, ProcessStats, encode, families, family::keep_to},
    snapshot::{Event, HookStatus, ProgramRuns, Snapshot},
};

/// How often single events are taken while nobody asks.
const IDLE: Duration = Duration::from_secs(10);
/// Events kept for exemplars: the newest.
const EVENTS: usize = 256;
/// Callers that wait at the same time, at most; connections are fewer.
const WAITING: usize = 1024;

/// What everybody who asks within an interval gets.
pub(super) struct Reading {
    /// All metrics.
    pub(super) families: Arc<Vec<Family>>,
    /// The hooks.
    pub(super) hooks: Vec<HookStatus>,
    /// When it was made.
    pub(super) at: SystemTime,
    /// When the counting began.
    #[cfg(feature = "otlp")]
    pub(super) attached: SystemTime,
    /// The host's name.
    #[cfg(feature = "otlp")]
    pub(super) hostname: String,
    encoded: [OnceLock<Result<Bytes, String>>; 3],
}

impl Reading {
    /// The metrics in a format; written once.
    pub(super) fn encoded(&self, format: Format) -> Result<Bytes, String> {
        self.encoded[format as usize]
            .get_or_init(|| encode(&self.families, format).map(Bytes::from))
            .clone()
    }
}

type Answer = Result<Arc<Reading>, String>;

/// A handle to the thread; the probes go when all handles have gone.
#[derive(Clone)]
pub(super) struct Source(SyncSender<oneshot::Sender<Answer>>);

impl Source {
    /// Starts the thread.
    pub(super) fn start(
        counters: Box<dyn Counters>,
        attached: SystemTime,
        settings: &Settings,
    ) -> io::Result<Self> {
        let (ask, asked) = sync_channel(WAITING);
        let reader = Reader {
            counters,
            interval: settings.interval,
            max_series: settings.max_series,
            cgroups: (settings.cgroups > 0).then(|| Top::new(settings.cgroups)),
            attached,
            events: Vec::new(),
            dropped: 0,
            last: None,
        };
        thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || reader.serve(&asked))?;
        Ok(Self(ask))
    }

    /// The newest reading.
    pub(super) async fn reading(&self) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(answer)
            .map_err(|_| "the reading thread has too much to do".to_owned())?;
        answered
            .await
            .unwrap_or_else(|_| Err("the reading thread is gone".to_owned()))
    }
}

/// What is read: the live kernel, or a recording.
pub(super) trait Counters: Send {
    /// Everything counted so far.
    fn snapshot(&mut self) -> Result<Snapshot, String>;
    /// Single futile unmaps since the last call.
    fn events(&mut self, most: usize) -> Vec<Event>;
    /// The BPF programs' runs, where the kernel times them.
    fn program_runs(&self) -> Vec<ProgramRuns> {
        Vec::new()
    }
    /// Whether a cgroup of this name is there no more.
    fn cgroup_is_gone(&self, _name: &str) -> bool {
        false
    }
}

impl Counters for Probes {
    fn snapshot(&mut self) -> Result<Snapshot, String> {
        Probes::snapshot(self).map_err(|e| format!("the counters can't be read: {e}"))
    }

    fn events(&mut self, most: usize) -> Vec<Event> {
        self.forward_log();
        Probes::events(self, most)
    }

    fn program_runs(&self) -> Vec<ProgramRuns> {
        Probes::program_runs(self)
    }

    fn cgroup_is_gone(&self, name: &str) -> bool {
        Probes::cgroup_is_gone(self, name)
    }
}

/// A recording: each reading shows the next look, and the last one stays.
pub(super) struct Replayed {
    recording: Recording,
    next: usize,
    events: Vec<Event>,
}

impl Replayed {
    pub(super) fn new(recording: Recording) -> Self {
        Self {
            recording,
            next: 0,
            events: Vec::new(),
        }
    }
}

impl Counters for Replayed {
    fn snapshot(&mut self) -> Result<Snapshot, String> {
        let frame = self.recording.frame(self.next)?;
        self.next = (self.next + 1).min(self.recording.count() - 1);
        self.events = frame.events;
        Ok(frame.snapshot)
    }

    fn events(&mut self, _most: usize) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

struct Reader {
    counters: Box<dyn Counters>,
    interval: Duration,
    max_series: usize,
    cgroups: Option<Top>,
    attached: SystemTime,
    events: Vec<Event>,
    dropped: u64,
    last: Option<(Instant, Arc<Reading>)>,
}

impl Reader {
    fn serve(mut self, asked: &Receiver<oneshot::Sender<Answer>>) {
        loop {
            match asked.recv_timeout(IDLE) {
                Ok(answer) => {
                    // Whoever has gone needs no answer.
                    let _ = answer.send(self.reading());
                }
                Err(RecvTimeoutError::Timeout) => self.take_events(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take_events(&mut self) {
        self.events.extend(self.counters.events(EVENTS));
        let surplus = self.events.len().saturating_sub(EVENTS);
        self.events.drain(..surplus);
    }

    fn reading(&mut self) -> Answer {
        if let Some((made, reading)) = &self.last
            && made.elapsed() < self.interval
        {
            return Ok(Arc::clone(reading));
        }
        let snapshot = self.counters.snapshot()?;
        self.take_events();
        if let Some(top) = &mut self.cgroups {
            let counters = &self.counters;
            top.update(&by_cgroup(&snapshot), |name| counters.cgroup_is_gone(name));
        }
        let programs = self.counters.program_runs();
        let mut families = families(&Input {
            snapshot: &snapshot,
            cgroups: self.cgroups.as_ref(),
            programs: &programs,
            process: process(),
            events: &self.events,
            attached: self.attached,
            dropped: self.dropped,
        });
        let dropped = keep_to(&mut families, self.max_series);
        if dropped > 0 && self.dropped == 0 {
            tracing::warn!(
                "{dropped} series don't fit max_series = {}: they are left out",
                self.max_series
            );
        }
        self.dropped += dropped;
        let reading = Arc::new(Reading {
            families: Arc::new(families),
            hooks: snapshot.hooks,
            at: SystemTime::now(),
            #[cfg(feature = "otlp")]
            attached: self.attached,
            #[cfg(feature = "otlp")]
            hostname: crate::kernel::host::host().hostname,
            encoded: Default::default(),
        });
        self.last = Some((Instant::now(), Arc::clone(&reading)));
        Ok(reading)
    }
}

/// Folios by cgroup and verdict. One that can't be named counts with the unknown ones: its
/// number would be a series of its own for ever.
fn by_cgroup(snapshot: &Snapshot) -> BTreeMap<Option<String>, [u64; Verdict::COUNT]> {
    let mut by: BTreeMap<_, [u64; Verdict::COUNT]> = BTreeMap::new();
    for (group, counts) in &snapshot.groups {
        let name = group.victim.as_ref().and_then(|v| v.cgroup.clone());
        let name = name.filter(|n| !n.starts_with("id:"));
        let sums = by.entry(name).or_default();
        for (sum, c) in sums.iter_mut().zip(counts) {
            *sum = sum.saturating_add(c.folios);
        }
    }
    by
}

fn process() -> ProcessStats {
    let Ok(me) = procfs::process::Process::myself() else {
        return ProcessStats::default();
    };
    let ticks = procfs::ticks_per_second();
    let stat = me.stat().ok();
    ProcessStats {
        cpu_seconds: stat
            .as_ref()
            .map(|s| (s.utime + s.stime) as f64 / ticks as f64),
        resident_bytes: stat.as_ref().map(|s| s.rss * procfs::page_size()),
        open_fds: me.fd_count().ok().and_then(|n| u64::try_from(n).ok()),
        start: stat.and_then(|s| started(s.starttime as f64 / ticks as f64)),
    }
}

/// Seconds since 1970, from those since boot.
fn started(after_boot: f64) -> Option<f64> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?
        .as_secs_f64();
    let up = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    let up = Duration::from(up).as_secs_f64();
    // Of a tick's exactness, so that it doesn't tremble from scrape to scrape.
    Some(((now - up + after_boot) * 10.0).round() / 10.0)
}
