//! CMD: the program that a capture starts and waits for.

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

/// The time that CMD has to end after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// The reason why CMD could not be started. The exit status is 127 or 126, as in a shell.
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

/// Starts CMD. Its stdout is left alone if the report goes elsewhere than to ours, and is sent to
/// stderr otherwise.
pub(super) fn start(cmd: &[OsString], stdout_is_free: bool) -> Result<Child> {
    let (program, arguments) = cmd.split_first().context("no CMD")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if !stdout_is_free {
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

/// Ends CMD with SIGTERM, and with SIGKILL if that has no effect in time.
pub(super) async fn end(child: &mut Child) -> Result<ExitStatus> {
    if let Some(pid) = child.id().and_then(|p| i32::try_from(p).ok()) {
        // An error means that it is gone already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
            return Ok(status?);
        }
        child.start_kill()?;
    }
    Ok(child.wait().await?)
}

/// Returns CMD's exit status, or 128 and the signal that ended it, as in a shell.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|s| 128 + s))
        .unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}
