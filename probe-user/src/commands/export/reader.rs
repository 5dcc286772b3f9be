//! The thread that owns the probes. It reads the kernel at most once per interval, however many
//! clients scrape, and all of them get the newest scrape.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use axum::body::Bytes;
use tokio::sync::oneshot;

use super::{encoding, status::Status};
use crate::{
    cli::Export,
    kernel::{host, probes::Probes, symbols},
    model::ranking::{Top, by_cgroup},
    recording::{Frames, Recording},
    render::metrics::{
        Births, Family, Format, Input, ProcessStats, Reads, encode, families, family::keep_to,
    },
    snapshot::{Event, HookStatus, ProgramRuns, Snapshot},
};

/// How often the counters are kept in order and events are read, whether somebody scrapes or not.
const TICK: Duration = Duration::from_secs(1);
/// The subscribers without a symbol of their own, as [`crate::snapshot::Subscriber`] names them.
const SHARED_SUBSCRIBERS: [&str; 3] = ["interval notifiers", "none found", "other"];
/// The number of events kept for exemplars: the newest ones.
const EVENTS: usize = 256;
/// The maximum number of callers that wait at the same time; there are fewer connections.
const WAITING: usize = 1024;

/// What every client gets that scrapes within one interval.
pub(super) struct Scrape {
    /// All metrics.
    pub(super) families: Arc<Vec<Family>>,
    /// The hooks and their states.
    pub(super) hooks: Vec<HookStatus>,
    /// The time when the kernel was read.
    pub(super) at: SystemTime,
    /// The time when counting began.
    #[cfg(feature = "otlp")]
    pub(super) attached: SystemTime,
    encoded: [OnceLock<Result<Bytes, String>>; 3],
    compressed: [OnceLock<Result<Bytes, String>>; 3],
}

impl Scrape {
    /// Returns the metrics in a format. Each format is encoded once.
    pub(super) fn encoded(&self, format: Format) -> Result<Bytes, String> {
        self.encoded[format as usize]
            .get_or_init(|| encode(&self.families, format).map(Bytes::from))
            .clone()
    }

    /// Returns the metrics in a format, compressed once.
    pub(super) fn compressed(&self, format: Format) -> Result<Bytes, String> {
        self.compressed[format as usize]
            .get_or_init(|| encoding::gzip(&self.encoded(format)?))
            .clone()
    }
}

/// A scrape, or why the kernel cannot be read.
pub(super) type ScrapeResult = Result<Arc<Scrape>, String>;

/// A handle to the thread. The probes are detached when the last handle is dropped.
#[derive(Clone)]
pub(super) struct ReaderHandle(SyncSender<Request>);

/// A request for a scrape.
struct Request {
    /// Whether the scrape must be newer than the request.
    fresh: bool,
    answer: oneshot::Sender<ScrapeResult>,
}

impl ReaderHandle {
    /// Starts the thread.
    pub(super) fn start(
        counters: Box<dyn Counters>,
        attached: SystemTime,
        options: &Export,
        status: Arc<Status>,
    ) -> io::Result<Self> {
        let (ask, asked) = sync_channel(WAITING);
        let reader = Reader {
            kernel: counters.kernel(),
            subscribers: counters.subscribers(),
            counters,
            interval: options.interval.0,
            max_series: options.max_series,
            cgroups: (options.cgroups > 0).then(|| Top::new(options.cgroups)),
            births: Births::default(),
            reads: Reads::default(),
            attached,
            status,
            events: Vec::new(),
            dropped: 0,
            last: None,
        };
        thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || reader.serve(&asked))?;
        Ok(Self(ask))
    }

    /// Returns the newest scrape.
    pub(super) async fn scrape(&self) -> ScrapeResult {
        self.ask(false).await
    }

    /// Returns a scrape made now, whatever the interval.
    #[cfg(feature = "otlp")]
    pub(super) async fn fresh(&self) -> ScrapeResult {
        self.ask(true).await
    }

    async fn ask(&self, fresh: bool) -> ScrapeResult {
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(Request { fresh, answer })
            .map_err(|_| "too many scrapes are waiting for the reading thread".to_owned())?;
        answered
            .await
            .unwrap_or_else(|_| Err("the reading thread has ended".to_owned()))
    }
}

/// The origin of the counters: the live kernel, or a recording.
pub(super) trait Counters: Send {
    /// Returns everything counted so far.
    fn snapshot(&mut self) -> Result<Snapshot, String>;
    /// Returns the events since the last call, at most `most`.
    fn events(&mut self, most: usize) -> Vec<Event>;
    /// Does what must not wait for a scrape: learns names, and gives back the keys of processes and
    /// cgroups that are gone.
    fn tick(&mut self) {}
    /// Returns the release of the kernel that is counted.
    fn kernel(&self) -> String;
    /// Returns subscribers of MMU notifiers that may be counted later.
    fn subscribers(&self) -> Vec<String> {
        SHARED_SUBSCRIBERS.map(str::to_owned).to_vec()
    }
    /// Returns the pins of pages that the whole host holds now, if that is known.
    fn pinned_pages(&self) -> Option<u64> {
        None
    }
    /// Returns the BPF programs' runs, if the kernel times them.
    fn program_runs(&self) -> Vec<ProgramRuns> {
        Vec::new()
    }
}

impl Counters for Probes {
    fn snapshot(&mut self) -> Result<Snapshot, String> {
        Probes::snapshot(self).map_err(|e| format!("cannot read the counters: {e}"))
    }

    fn events(&mut self, most: usize) -> Vec<Event> {
        self.forward_log();
        Probes::events(self, most)
    }

    fn kernel(&self) -> String {
        host::host().kernel
    }

    fn subscribers(&self) -> Vec<String> {
        let shared = SHARED_SUBSCRIBERS.map(str::to_owned);
        shared.into_iter().chain(symbols::subscribers()).collect()
    }

    fn pinned_pages(&self) -> Option<u64> {
        host::pinned_pages()
    }

    fn program_runs(&self) -> Vec<ProgramRuns> {
        Probes::program_runs(self)
    }

    fn tick(&mut self) {
        if let Err(error) = Probes::tick(self) {
            tracing::debug!("cannot keep the maps in order: {error}");
        }
    }
}

/// A recording: each read returns the next sample, and after the last one, that one again.
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

    fn kernel(&self) -> String {
        self.recording.host().kernel.clone()
    }

    fn events(&mut self, _most: usize) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// The state of the thread.
struct Reader {
    counters: Box<dyn Counters>,
    kernel: String,
    subscribers: Vec<String>,
    interval: Duration,
    max_series: usize,
    cgroups: Option<Top>,
    births: Births,
    reads: Reads,
    attached: SystemTime,
    status: Arc<Status>,
    events: Vec<Event>,
    dropped: u64,
    last: Option<(Instant, Arc<Scrape>)>,
}

impl Reader {
    fn serve(mut self, asked: &Receiver<Request>) {
        let mut ticked = Instant::now();
        // Health checks read the outcome, and never the kernel.
        let _ = self.checked();
        loop {
            let left = TICK.saturating_sub(ticked.elapsed());
            match asked.recv_timeout(left) {
                Ok(request) => {
                    if request.fresh {
                        self.last = None;
                    }
                    // Fails if the caller is gone.
                    let _ = request.answer.send(self.checked());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if ticked.elapsed() >= TICK {
                self.counters.tick();
                self.take_events();
                ticked = Instant::now();
                self.status.beat();
                if self.status.unread() {
                    let _ = self.checked();
                }
            }
        }
    }

    /// Makes a scrape, and records whether that worked.
    fn checked(&mut self) -> ScrapeResult {
        let scrape = self.scrape();
        self.status
            .read(scrape.as_ref().map(|scrape| scrape.hooks.as_slice()));
        scrape
    }

    fn take_events(&mut self) {
        self.events.extend(self.counters.events(EVENTS));
        let surplus = self.events.len().saturating_sub(EVENTS);
        self.events.drain(..surplus);
    }

    fn scrape(&mut self) -> ScrapeResult {
        if let Some((made, scrape)) = &self.last
            && made.elapsed() < self.interval
        {
            return Ok(Arc::clone(scrape));
        }
        let begun = Instant::now();
        let snapshot = self.counters.snapshot()?;
        let programs = self.counters.program_runs();
        self.reads.count += 1;
        self.reads.seconds += begun.elapsed().as_secs_f64();
        self.take_events();
        if let Some(top) = &mut self.cgroups {
            top.update(by_cgroup(&snapshot), snapshot.elapsed);
        }
        let input = Input {
            kernel: &self.kernel,
            subscribers: &self.subscribers,
            cgroups: self.cgroups.as_ref(),
            programs: &programs,
            process: process(),
            pinned_pages: self.counters.pinned_pages(),
            reads: self.reads,
            events: &self.events,
            attached: self.attached,
            dropped: self.dropped,
            reload: self.status.reload(),
            ..Input::of(&snapshot)
        };
        let mut families = families(&input);
        let times = (input.time_at(0.0), input.time_at(snapshot.elapsed));
        self.births.mark(&mut families, times.0, times.1);
        let dropped = keep_to(&mut families, self.max_series);
        if dropped > 0 && self.dropped == 0 {
            tracing::warn!(
                "{dropped} series exceed max_series = {} and are dropped",
                self.max_series
            );
        }
        self.dropped += dropped;
        let scrape = Arc::new(Scrape {
            families: Arc::new(families),
            hooks: snapshot.hooks,
            at: SystemTime::now(),
            #[cfg(feature = "otlp")]
            attached: self.attached,
            encoded: Default::default(),
            compressed: Default::default(),
        });
        self.last = Some((Instant::now(), Arc::clone(&scrape)));
        Ok(scrape)
    }
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

/// Converts seconds since boot to seconds since 1970.
fn started(after_boot: f64) -> Option<f64> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?
        .as_secs_f64();
    let up = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    let up = Duration::from(up).as_secs_f64();
    // Rounded, as exact as a tick, so that the value does not jitter from scrape to scrape.
    Some(((now - up + after_boot) * 10.0).round() / 10.0)
}
