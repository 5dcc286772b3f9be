//! Tests for a guest kernel: pinscope against the truth of workloads, and against ftrace.
//!
//! They need root, /dev/kvm, swap, tracefs, cgroup2 and /mnt on a disk file system; `cargo
//! xtask test` runs them in guests that have all that. A capture covers the whole host, so the
//! tests run one at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]
#![allow(missing_docs, reason = "not a library")]
#![allow(
    clippy::needless_pass_by_value,
    clippy::type_complexity,
    reason = "what reads well in a test"
)]

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

#[path = "../common/promql.rs"]
mod promql;

mod alerts;
mod barred;
mod churn;
mod commands;
mod consistent;
mod degraded;
mod export;
mod ftrace;
mod helper;
mod live;
mod pressure;
mod privileges;
mod rates;
mod sample;
mod scenarios;
mod soak;
mod support;
mod watched;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, helper, rest @ ..] = arguments.as_slice()
        && flag == "--helper"
    {
        return helper::main(helper, rest);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let mut trials = Vec::new();
    trials.extend(scenarios::trials());
    trials.extend(ftrace::trials());
    trials.extend(pressure::trials());
    trials.extend(commands::trials());
    trials.extend(watched::trials());
    trials.extend(degraded::trials());
    trials.extend(live::trials());
    trials.extend(export::trials());
    trials.extend(rates::trials());
    trials.extend(churn::trials());
    trials.extend(privileges::trials());
    trials.extend(alerts::trials());
    trials.extend(barred::trials());
    trials.extend(barred::last());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Makes a test.
fn test(name: impl Into<String>, body: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        body().map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// Makes a test that is ignored if there is an obstacle: the reason why this kernel cannot run it.
fn test_unless(
    obstacle: Option<&'static str>,
    name: &str,
    body: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || match obstacle {
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => body()
            .map(|()| Completion::Completed)
            .map_err(|error| Failed::from(format!("{error:#}"))),
    })
}
