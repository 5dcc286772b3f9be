//! The CMD of a capture.

use std::{
    ffi::OsString,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

/// How long CMD has to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Why CMD couldn't be started: exit status 127 or 126, as a shell has it.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {}: {source}", command.to_string_lossy())]
pub(super) struct NotStarted {
    command: OsString,
    source: std::io::Error,
}

impl NotStarted {
    pub(super) fn status(&self) -> u8 {
        if self.source.kind() == std::io::ErrorKind::NotFound {
            127
        } else {
            126
        }
    }
}

/// Starts CMD. Its stdout is left alone if ours isn't used for the report.
pub(super) fn start(cmd: &[OsString], own_stdout: bool) -> Result<Child> {
    let (program, arguments) = cmd.split_first().context("no CMD")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if !own_stdout {
        let stderr = std::io::stderr().as_fd().try_clone_to_owned()?;
        command.stdout(Stdio::from(stderr));
    }
    command.spawn().map_err(|source| {
        NotStarted {
            command: program.clone(),
            source,
        }
        .into()
    })
}

/// Ends CMD: politely, and after a while not.
pub(super) async fn end(child: &mut Child) -> Result<ExitStatus> {
    if let Some(pid) = child.id().and_then(|p| i32::try_from(p).ok()) {
        // Already gone is what is wanted.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
            return Ok(status?);
        }
        child.start_kill()?;
    }
    Ok(child.wait().await?)
}

/// The exit status that stands for CMD's: its own, or 128 and the signal, as a shell has it.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|s| 128 + s))
        .unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}
