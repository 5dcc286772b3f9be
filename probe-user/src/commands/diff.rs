//! `pinscope diff`: compares two captures.

use std::{io::Write, path::Path};

use anyhow::{Result, ensure};

use super::{
    output::{self, Sink},
    report,
};
use crate::{
    cli::{Cli, Diff as Args, TextOrJson},
    model::{Diff, Subject},
    render,
};

pub(super) fn run(cli: &Cli, args: &Args) -> Result<u8> {
    let stdin = Path::new("-");
    ensure!(
        args.a != stdin || args.b != stdin,
        "only one of the two captures can come from stdin"
    );
    let (a, samples_a) = report::open(&args.a)?.report(true)?;
    let (b, samples_b) = report::open(&args.b)?.report(true)?;
    let (name_a, name_b) = (args.a.display().to_string(), args.b.display().to_string());
    let diff = Diff::of(
        Subject {
            name: &name_a,
            capture: &a,
            samples: &samples_a,
        },
        Subject {
            name: &name_b,
            capture: &b,
            samples: &samples_b,
        },
    );
    let mut sink = Sink::open(args.output.as_deref())?;
    match args.format {
        TextOrJson::Text => {
            let style = output::style(cli, sink.is_terminal());
            sink.write_all(render::text::diff::text(&diff, &style).as_bytes())?;
        }
        TextOrJson::Json => render::json::write_diff(&mut sink, &diff)?,
    }
    sink.finish()?;
    Ok(0)
}
