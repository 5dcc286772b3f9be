//! `pinscope capture`: watches the host for a while, then reports.

use std::{
    io::{IsTerminal, Write},
    process::ExitStatus,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Error, Result};
use caps::Capability;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};

use super::{
    TIMED_OUT,
    child::{self, Cmd, NotStarted},
    kept::{self, Kept},
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
        text::{progress, report as text},
    },
    snapshot::{Event, Host, Snapshot},
};

/// The most events that are read at once. A signal, the end of CMD and the deadline are noticed
/// between two turns.
const TURN: usize = 1000;
/// The exit status if CMD was ended because nobody reads the output: 128 and SIGPIPE.
const CLOSED_PIPE: u8 = 141;
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
    Cmd(ExitStatus),
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
    let start = probes.started();
    let host = host();
    // Created before CMD starts, so that a bad name is reported before anything runs.
    let recorder = match &args.record {
        Some(path) => Some(Writer::create(path, &header(&host, start, args))?),
        None => None,
    };
    // CMD starts before privileges are dropped, so it has those that this process was started with.
    let (mut cmd, recorder) = match args.cmd.as_slice() {
        [] => (None, recorder),
        words => match Cmd::start(words, sink.is_named()) {
            Ok(cmd) => (Some(cmd), recorder),
            Err(error) => {
                if let Some(recorder) = recorder {
                    recorder.abandon();
                }
                return Err(error);
            }
        },
    };
    let mut session = Session {
        progress: !cli.quiet && std::io::stderr().is_terminal(),
        ndjson: args.format == Format::Ndjson,
        previous: None,
        events: Kept::default(),
        keep_events: args.events.is_some_and(|n| n > 0),
        behind: false,
        recorder,
        unrecorded: Vec::new(),
        record_failed: false,
        sink,
    };
    let watched = async {
        // CMD, or a process that it starts, may run as another user.
        let to_end_cmd = cmd.as_ref().map(|_| Capability::CAP_KILL);
        let kept = probes
            .drop_privileges_but(to_end_cmd.as_slice())
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
        if session.ndjson {
            let hooks = probes.snapshot()?.hooks;
            lines::start(session.sink, &host, &Window::new(start, 0.0), &hooks)?;
            session.sink.flush()?;
        }
        let end = wait(
            args,
            &mut probes,
            &mut session,
            &mut cmd,
            &mut interrupt,
            &mut terminate,
        )
        .await?;
        let code = match (end, &mut cmd) {
            (End::Cmd(status), _) => child::code(status),
            (End::Duration, Some(cmd)) => {
                cmd.end().await?;
                TIMED_OUT
            }
            (End::Interrupted, Some(cmd)) => child::code(cmd.end().await?),
            (End::Duration | End::Interrupted, None) => 0,
        };
        report(cli, args, &mut probes, &mut session, &host)?;
        Ok(if session.record_failed && code == 0 {
            1
        } else {
            code
        })
    }
    .await;
    match (watched, &mut cmd) {
        (Err(error), Some(cmd)) => failed(error, cmd).await,
        (watched, _) => watched,
    }
}

/// Ends CMD after an error, so that it does not run on unwatched, and returns the exit status. If
/// nobody reads the output any more, that is 141, as in a shell: 128 and SIGPIPE.
async fn failed(error: Error, cmd: &mut Cmd) -> Result<u8> {
    let closed = output::is_closed(&error);
    match cmd.ended() {
        Some(status) if closed => Ok(child::code(status)),
        Some(_) => Err(error),
        None => {
            cmd.end().await.context("cannot end CMD")?;
            if closed {
                say("the reader of the output is gone, so CMD was ended");
                return Ok(CLOSED_PIPE);
            }
            Err(error.context("CMD was ended because the capture failed"))
        }
    }
}

/// Says something on stderr. That may be the same pipe, whose reader is gone: no reason to panic.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "pinscope: {words}");
}

/// Ends the counting, and writes what was counted.
fn report(
    cli: &Cli,
    args: &cli::Capture,
    probes: &mut Probes,
    session: &mut Session<'_>,
    host: &Host,
) -> Result<()> {
    probes.stop();
    probes.forward_log();
    let last = probes
        .snapshot()
        .context("the capture is over, but its counts cannot be read")?;
    // This ends: nothing adds events any more.
    while session.collect(|limit| probes.events(limit))? {}
    if session.progress {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    session.record(&last);
    session.finish_recording();
    let window = Window::new(probes.started(), last.elapsed);
    let omitted = session.events.omitted();
    let capture =
        Capture::between(host, window, None, &last, session.events.events()).lacking(omitted, None);
    match args.format {
        Format::Text => {
            let style = output::style(cli, session.sink.is_terminal());
            text::write(session.sink, &capture, &style)?;
        }
        Format::Json => json::write(session.sink, &capture)?,
        Format::Ndjson => lines::report(session.sink, &capture)?,
    }
    session.sink.flush()?;
    Ok(())
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
    cmd: &mut Option<Cmd>,
    interrupt: &mut Signal,
    terminate: &mut Signal,
) -> Result<End> {
    // Without a duration: longer than the longest that is accepted.
    let duration = args
        .duration
        .map_or(Duration::from_secs(366 * 24 * 3600), |d| d.0);
    // The duration is that of the window, or that of CMD.
    let since = match cmd {
        None => probes.since(),
        Some(_) => Instant::now(),
    };
    let deadline = tokio::time::sleep_until((since + duration).into());
    tokio::pin!(deadline);
    let period = args.interval.0;
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let cmd_ends = async {
            match cmd.as_mut() {
                Some(cmd) => cmd.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order: if CMD has ended, its time being up doesn't matter.
            biased;
            status = cmd_ends => return Ok(End::Cmd(status?)),
            _ = interrupt.recv() => return Ok(End::Interrupted),
            _ = terminate.recv() => return Ok(End::Interrupted),
            () = &mut deadline => return Ok(End::Duration),
            _ = ticks.tick() => session.sample(probes)?,
            () = tokio::task::yield_now(), if session.has_room() => {
                session.collect(|limit| probes.events(limit))?;
            }
        }
    }
}

/// What a running capture shows and writes.
struct Session<'a> {
    progress: bool,
    ndjson: bool,
    previous: Option<Snapshot>,
    events: Kept,
    /// Whether there may be more events to read at once.
    behind: bool,
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
        self.collect(|limit| probes.events(limit))?;
        if !self.progress && !self.ndjson && self.recorder.is_none() {
            // Nothing shows or writes samples, so the counts are read once, at the end.
            return Ok(());
        }
        let now = probes.snapshot()?;
        self.record(&now);
        if self.progress {
            let totals = Totals::between(None, &now);
            let line = progress::progress_line(Duration::from_secs_f64(now.elapsed), &totals);
            // A terminal that is gone is no reason to stop.
            let mut terminal = std::io::stderr();
            let shown = write!(terminal, "\r\x1b[K{line}").and_then(|()| terminal.flush());
            self.progress = shown.is_ok();
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
        say(&format!(
            "{error}; the part written so far is readable, and the capture continues without a \
             recording"
        ));
        self.recorder = None;
        self.record_failed = true;
    }

    /// Whether another turn of events is worth it, and fits in memory until the next sample of the
    /// recording. The ring buffer keeps what fits there, and the kernel counts the rest as lost.
    fn has_room(&self) -> bool {
        self.behind && self.unrecorded.len() < kept::MOST
    }

    /// Takes one turn of events, and returns whether there may be more.
    fn collect(&mut self, take: impl FnOnce(usize) -> Vec<Event>) -> Result<bool> {
        let events = take(TURN);
        self.behind = events.len() == TURN;
        if self.recorder.is_some() {
            self.unrecorded.extend(events.iter().cloned());
        }
        if self.ndjson {
            for event in events.iter().filter(|_| self.keep_events) {
                lines::event(self.sink, event)?;
            }
        } else if self.keep_events {
            self.events.add(events);
        }
        Ok(self.behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flood of events must not keep a capture from noticing Ctrl-C.
    #[test]
    fn a_flood_of_events_is_read_in_turns() {
        let mut sink = Sink::Stdout;
        let mut session = Session {
            progress: false,
            ndjson: false,
            previous: None,
            events: Kept::default(),
            keep_events: true,
            behind: false,
            recorder: None,
            unrecorded: Vec::new(),
            record_failed: false,
            sink: &mut sink,
        };
        let endless = |limit: usize| vec![kept::event(0.0); limit];
        for turns in 1..=3 {
            assert!(session.collect(endless).unwrap());
            assert!(session.has_room());
            assert_eq!(session.events.events().len(), turns * TURN);
        }
        assert!(!session.collect(|_| vec![kept::event(0.0)]).unwrap());
        assert!(!session.has_room());
    }
}
