//! `pinscope report`: a capture read again.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result};

use super::output::{self, Sink};
use crate::{
    cli::{Cli, Report, ReportFormat},
    faces,
};

/// The largest capture that is read: ten thousand groups are some MiB.
const MAX_BYTES: u64 = 256 << 20;

pub(super) fn run(cli: &Cli, args: &Report) -> Result<u8> {
    let name = args.file.display();
    let text = read(&args.file).with_context(|| format!("cannot read {name}"))?;
    let capture = faces::json::read(&text).with_context(|| format!("cannot read {name}"))?;
    let mut sink = Sink::open(args.output.as_deref())?;
    let mut bytes = Vec::new();
    match args.format {
        ReportFormat::Text => {
            let style = output::style(cli, sink.is_terminal());
            faces::text::write(&mut bytes, &capture, &style)?;
        }
        ReportFormat::Json => faces::json::write(&mut bytes, &capture)?,
        ReportFormat::Html => bytes = faces::html::page(&capture, &[]).into_bytes(),
    }
    sink.write_all(&bytes)?;
    sink.finish()?;
    Ok(0)
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let mut limited: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().take(MAX_BYTES + 1))
    } else {
        Box::new(fs::File::open(path)?.take(MAX_BYTES + 1))
    };
    limited.read_to_string(&mut text)?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_BYTES,
        "it is larger than {} MiB: no capture is",
        MAX_BYTES >> 20
    );
    Ok(text)
}
