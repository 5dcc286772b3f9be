//! `pinscope doctor`: what works here, which answers that costs, and the remedy.

use std::{
    io::{self, IsTerminal},
    time::Instant,
};

use anyhow::Result;

use super::{CANNOT_RUN, options, output};
use crate::{
    cli::{Cli, Doctor, TextOrJson},
    kernel::{checks, host::host, probes::Probes},
    model::DoctorReport,
    render,
};

pub(super) fn run(cli: &Cli, args: &Doctor) -> Result<u8> {
    let mut checks = checks::conditions();
    let started = Instant::now();
    // Attaching is the one test that can't be wrong.
    let (can_run, hooks) = match Probes::attach(&options(&args.hooking)) {
        Ok(mut probes) => {
            let hooks = probes.snapshot()?.hooks;
            checks.push(checks::attached(&hooks, started.elapsed()));
            (true, hooks)
        }
        Err(error) => {
            checks.push(checks::not_attached(&error));
            (false, Vec::new())
        }
    };
    let report = DoctorReport::new(can_run, host().kernel, checks, hooks);
    match args.format {
        TextOrJson::Text => {
            let style = output::style(cli, io::stdout().is_terminal());
            output::to_stdout(render::text::doctor::report(&report, &style).as_bytes())?;
        }
        TextOrJson::Json => {
            let mut bytes = Vec::new();
            render::json::write_doctor(&mut bytes, &report)?;
            output::to_stdout(&bytes)?;
        }
    }
    Ok(if can_run { 0 } else { CANNOT_RUN })
}
