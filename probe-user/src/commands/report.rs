//! `pinscope report`: prints the report of a recording or of a capture's JSON.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result};

use super::{
    kept::Kept,
    output::{self, Sink},
};
use crate::{
    cli::{Cli, Report, ReportFormat},
    model::{Capture, Interval, Window},
    recording::{Frames, Recording, is_recording},
    render,
    snapshot::Snapshot,
};

/// The largest capture that is accepted: ten thousand groups take a few MiB.
const MAX_BYTES: u64 = 256 << 20;

pub(super) fn run(cli: &Cli, args: &Report) -> Result<u8> {
    let html = args.format == ReportFormat::Html;
    let (capture, timeline) = open(&args.file)?.report(html)?;
    let mut sink = Sink::open(args.output.as_deref())?;
    let mut bytes = Vec::new();
    match args.format {
        ReportFormat::Text => {
            let style = output::style(cli, sink.is_terminal());
            render::text::report::write(&mut bytes, &capture, &style)?;
        }
        ReportFormat::Json => render::json::write(&mut bytes, &capture)?,
        ReportFormat::Html => bytes = render::html::page(&capture, &timeline).into_bytes(),
    }
    sink.write_all(&bytes)?;
    sink.finish()?;
    Ok(0)
}

/// An input: a recording, or a capture's JSON.
pub(super) enum Opened {
    /// A recording, with all its samples.
    Recording(Box<Recording>),
    /// One capture, without the samples that led up to it.
    Capture(Box<Capture>),
}

impl Opened {
    /// Returns the capture as it was printed and, if `timeline` is set, its intervals.
    pub(super) fn report(&self, timeline: bool) -> Result<(Capture, Vec<Interval>)> {
        match self {
            Opened::Capture(capture) => Ok(((**capture).clone(), Vec::new())),
            Opened::Recording(recording) => report_of(recording, timeline),
        }
    }
}

/// Makes the report that the capture itself printed: from the last sample, with the events of all.
fn report_of(recording: &Recording, timeline: bool) -> Result<(Capture, Vec<Interval>)> {
    let events_asked = recording.header().events_asked;
    let last = recording.count() - 1;
    let mut events = Kept::default();
    let mut intervals = Vec::new();
    let mut previous: Option<Snapshot> = None;
    let from = if events_asked || timeline { 0 } else { last };
    for index in from..=last {
        let frame = recording.frame(index).map_err(anyhow::Error::msg)?;
        if events_asked {
            events.add(frame.events);
        }
        if timeline {
            intervals.push(Interval::new(None, previous.as_ref(), &frame.snapshot));
        }
        previous = Some(frame.snapshot);
    }
    let last = previous.context("the recording has no sample")?;
    let window = Window::new(recording.start(), last.elapsed);
    let omitted = events.omitted();
    let capture = Capture::between(recording.host(), window, None, &last, events.events())
        .lacking(omitted, recording.incomplete());
    Ok((capture, intervals))
}

/// Opens a recording or a capture; `-` is stdin. Reports on stderr if a recording is incomplete.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let name = path.display();
    let cannot = || format!("cannot read {name}");
    let recording = if path == Path::new("-") {
        let bytes = bounded(io::stdin()).with_context(cannot)?;
        if !is_recording(&bytes) {
            return capture(bytes).with_context(cannot);
        }
        Recording::from_bytes(bytes)
    } else {
        let mut file = fs::File::open(path).with_context(cannot)?;
        let mut start = Vec::new();
        (&mut file)
            .take(16)
            .read_to_end(&mut start)
            .with_context(cannot)?;
        if !is_recording(&start) {
            let rest = io::Cursor::new(start).chain(file);
            return capture(bounded(rest).with_context(cannot)?).with_context(cannot);
        }
        Recording::open(path)
    };
    let recording = recording.with_context(cannot)?;
    if let Some(why) = recording.incomplete() {
        eprintln!("pinscope: {name} is incomplete: {why}");
    }
    Ok(Opened::Recording(Box::new(recording)))
}

fn capture(bytes: Vec<u8>) -> Result<Opened> {
    let text =
        String::from_utf8(bytes).context("not a pinscope recording, JSON or NDJSON report")?;
    Ok(Opened::Capture(Box::new(render::json::read(&text)?)))
}

fn bounded(from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "it is larger than {} MiB, which no capture is",
        MAX_BYTES >> 20
    );
    Ok(bytes)
}
