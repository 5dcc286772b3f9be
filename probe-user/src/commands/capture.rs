//! `pinscope capture`: watches the host for a while, then reports.

use std::{
    io::{IsTerminal, Write},
    process::ExitStatus,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use tokio::{
    process::Child,
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};

use super::{
    TIMED_OUT,
    child::{self, NotStarted},
    options,
    output::{self, Sink},
};
use crate::{
    cli::{self, Cli, Format},
    kernel::{
        host::host,
        probes::{ProbeOptions, Probes},
    },
    model::{Capture, Interval, Totals, Window},
    recording::{Header, RecordError, Writer},
    render::{
        json::{self, lines},
        text::{progress, report},
    },
    snapshot::{Event, Host, Snapshot},
};

/// The most events that are read at once.
const MAX_EVENTS: usize = 10_000;
/// The default budget of a recording: events per CPU and second.
const RECORDED_EVENTS: u32 = 20;

pub(super) fn run(cli: &Cli, args: &cli::Capture) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let mut sink = Sink::open(args.output.as_deref())?;
    match runtime.block_on(watch(cli, args, &mut sink)) {
        Ok(code) => {
            sink.finish()?;
            Ok(code)
        }
        Err(error) => {
            if let Some(not_started) = error.downcast_ref::<NotStarted>() {
                eprintln!("pinscope: {not_started}");
                return Ok(not_started.status());
            }
            Err(error)
        }
    }
}

/// The reason why a capture ended.
enum End {
    Duration,
    Interrupted,
    Child(ExitStatus),
}

async fn watch(cli: &Cli, args: &cli::Capture, sink: &mut Sink) -> Result<u8> {
    let started = Instant::now();
    let events_per_second = match (args.events, &args.record) {
        (Some(n), _) => n,
        (None, Some(_)) => RECORDED_EVENTS,
        (None, None) => 0,
    };
    let mut probes = Probes::attach(&ProbeOptions {
        events_per_second,
        measure_self: args.self_cost,
        ..options(&args.hooking)
    })?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let start = SystemTime::now();
    let host = host();
    // Created before CMD starts, so that a bad name is reported before anything runs.
    let recorder = match &args.record {
        Some(path) => Some(Writer::create(path, &header(&host, start, args))?),
        None => None,
    };
    // CMD starts before privileges are dropped, so it has those that this process was started with.
    let (mut child, recorder) = match args.cmd.as_slice() {
        [] => (None, recorder),
        cmd => match child::start(cmd, sink.is_named()) {
            Ok(child) => (Some(child), recorder),
            Err(error) => {
                if let Some(recorder) = recorder {
                    recorder.abandon();
                }
                return Err(error);
            }
        },
    };
    let kept = probes
        .drop_privileges()
        .context("cannot drop capabilities")?;
    let (active, all) = probes.active_of_all();
    tracing::info!(
        "{active} of {all} hooks active after {} ms; capabilities dropped{}",
        started.elapsed().as_millis(),
        if kept {
            " except CAP_BPF, without which this kernel does not read maps"
        } else {
            ""
        }
    );

    let mut session = Session {
        progress: !cli.quiet && std::io::stderr().is_terminal(),
        ndjson: args.format == Format::Ndjson,
        previous: None,
        events: Vec::new(),
        keep_events: args.events.is_some_and(|n| n > 0),
        recorder,
        unrecorded: Vec::new(),
        record_failed: false,
        sink,
    };
    if session.ndjson {
        let hooks = probes.snapshot()?.hooks;
        lines::start(session.sink, &host, &Window::new(start, 0.0), &hooks)?;
        session.sink.flush()?;
    }
    let end = wait(
        args,
        &mut probes,
        &mut session,
        &mut child,
        &mut interrupt,
        &mut terminate,
    )
    .await?;
    let code = match (end, &mut child) {
        (End::Child(status), _) => child::code(status),
        (End::Duration, Some(child)) => {
            child::end(child).await?;
            TIMED_OUT
        }
        (End::Interrupted, Some(child)) => child::code(child::end(child).await?),
        (End::Duration | End::Interrupted, None) => 0,
    };
    probes.stop();
    probes.forward_log();
    let last = probes
        .snapshot()
        .context("the capture is over, but its counts cannot be read")?;
    session.collect(&mut probes)?;
    if session.progress {
        eprint!("\r\x1b[K");
    }
    session.record(&last);
    session.finish_recording();
    let window = Window::new(start, last.elapsed);
    let capture = Capture::between(&host, window, None, &last, &session.events);
    match args.format {
        Format::Text => {
            let style = output::style(cli, session.sink.is_terminal());
            report::write(session.sink, &capture, &style)?;
        }
        Format::Json => json::write(session.sink, &capture)?,
        Format::Ndjson => lines::report(session.sink, &capture)?,
    }
    session.sink.flush()?;
    Ok(if session.record_failed && code == 0 {
        1
    } else {
        code
    })
}

fn header(host: &Host, start: SystemTime, args: &cli::Capture) -> Header {
    Header {
        pinscope: env!("CARGO_PKG_VERSION").to_owned(),
        host: host.clone(),
        start: humantime::format_rfc3339_millis(start).to_string(),
        interval: args.interval.0.as_secs_f64(),
        events_asked: args.events.is_some_and(|n| n > 0),
    }
}

/// Takes a sample at each interval until something ends the capture.
async fn wait(
    args: &cli::Capture,
    probes: &mut Probes,
    session: &mut Session<'_>,
    child: &mut Option<Child>,
    interrupt: &mut Signal,
    terminate: &mut Signal,
) -> Result<End> {
    // Without a duration: longer than the longest that is accepted.
    let duration = args
        .duration
        .map_or(Duration::from_secs(366 * 24 * 3600), |d| d.0);
    let deadline = tokio::time::sleep(duration);
    tokio::pin!(deadline);
    let period = args.interval.0;
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let child_ends = async {
            match child.as_mut() {
                Some(child) => child.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order: if CMD has ended, its time being up doesn't matter.
            biased;
            status = child_ends => return Ok(End::Child(status?)),
            _ = interrupt.recv() => return Ok(End::Interrupted),
            _ = terminate.recv() => return Ok(End::Interrupted),
            () = &mut deadline => return Ok(End::Duration),
            _ = ticks.tick() => session.sample(probes)?,
        }
    }
}

/// What a running capture shows and writes.
struct Session<'a> {
    progress: bool,
    ndjson: bool,
    previous: Option<Snapshot>,
    events: Vec<Event>,
    /// Whether the report includes the events.
    keep_events: bool,
    recorder: Option<Writer>,
    /// Events that are not in the recording yet.
    unrecorded: Vec<Event>,
    record_failed: bool,
    sink: &'a mut Sink,
}

impl Session<'_> {
    fn sample(&mut self, probes: &mut Probes) -> Result<()> {
        probes.forward_log();
        probes.tick()?;
        self.collect(probes)?;
        if !self.progress && !self.ndjson && self.recorder.is_none() {
            // Nothing shows or writes samples, so the counts are read once, at the end.
            return Ok(());
        }
        let now = probes.snapshot()?;
        self.record(&now);
        if self.progress {
            let totals = Totals::between(None, &now);
            let line = progress::progress_line(Duration::from_secs_f64(now.elapsed), &totals);
            eprint!("\r\x1b[K{line}");
            std::io::stderr().flush()?;
        }
        if self.ndjson {
            lines::interval(
                self.sink,
                &Interval::new(None, self.previous.as_ref(), &now),
            )?;
            self.sink.flush()?;
        }
        self.previous = Some(now);
        Ok(())
    }

    /// Adds a sample to the recording. If that fails, it is reported at once, and the capture goes on.
    fn record(&mut self, now: &Snapshot) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.frame(now, &self.unrecorded)
        {
            self.give_up_recording(&error);
        }
        self.unrecorded.clear();
    }

    fn finish_recording(&mut self) {
        if let Some(recorder) = self.recorder.take()
            && let Err(error) = recorder.finish()
        {
            self.give_up_recording(&error);
        }
    }

    fn give_up_recording(&mut self, error: &RecordError) {
        eprintln!(
            "pinscope: {error}; the part written so far is readable, and the capture continues without a recording"
        );
        self.recorder = None;
        self.record_failed = true;
    }

    fn collect(&mut self, probes: &mut Probes) -> Result<()> {
        loop {
            let events = probes.events(MAX_EVENTS);
            if events.is_empty() {
                return Ok(());
            }
            if self.recorder.is_some() {
                self.unrecorded.extend(events.iter().cloned());
            }
            if self.ndjson {
                for event in events.iter().filter(|_| self.keep_events) {
                    lines::event(self.sink, event)?;
                }
            } else if self.keep_events {
                self.events.extend(events);
            }
        }
    }
}
