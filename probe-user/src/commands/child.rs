//! CMD: the program that a capture starts, waits for, and never leaves running unwatched.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
    },
    unistd::{Pid, getpid, getppid},
};
use procfs::process::{Stat, all_processes};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout_at},
};

/// The time that CMD has to end after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// The time between two looks at processes that are about to end.
const POLL: Duration = Duration::from_millis(10);

/// The reason why CMD could not be started. The exit status is 127 or 126, as in a shell.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {}: {source}", command.to_string_lossy())]
pub(super) struct NotStarted {
    command: OsString,
    source: io::Error,
}

impl NotStarted {
    pub(super) fn status(&self) -> u8 {
        if self.source.kind() == io::ErrorKind::NotFound {
            127
        } else {
            126
        }
    }
}

/// CMD while it runs, and its exit status afterwards. If this is dropped before CMD has ended, CMD
/// is killed.
pub(super) struct Cmd {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Cmd {
    /// Starts CMD. Its stdout is left alone if the report goes elsewhere than to ours, and is sent
    /// to stderr otherwise. The kernel sends it SIGTERM if this process is killed.
    ///
    /// With a controlling terminal, CMD stays in the process group of this process: it can read
    /// from the terminal, and Ctrl-C and Ctrl-Z reach both. Without one, it gets a group of its own.
    pub(super) fn start(cmd: &[OsString], stdout_is_free: bool) -> Result<Self> {
        let (program, arguments) = cmd.split_first().context("no CMD")?;
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        if !stdout_is_free {
            let stderr = io::stderr().as_fd().try_clone_to_owned()?;
            command.stdout(Stdio::from(stderr));
        }
        if File::open("/dev/tty").is_err() {
            command.process_group(0);
        }
        end_with_parent(&mut command);
        let child = command.spawn().map_err(|source| NotStarted {
            command: program.clone(),
            source,
        })?;
        Ok(Self { child, ended: None })
    }

    /// Waits for CMD to end by itself.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.ended = Some(status);
        Ok(status)
    }

    /// The exit status, once it has ended.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        self.ended
    }

    /// Ends CMD, its process group and its descendants with SIGTERM, and with SIGKILL those on
    /// which that has no effect in time.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let root = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let mut members = root.map(members).unwrap_or_default();
        for member in &members {
            member.send(Signal::SIGTERM);
        }
        let deadline = Instant::now() + GRACE;
        let in_time = timeout_at(deadline, self.child.wait()).await;
        if in_time.is_err() {
            // It may have started more meanwhile.
            members.extend(root.map(self::members).unwrap_or_default());
        }
        gone(&members, deadline).await;
        for member in &members {
            member.send(Signal::SIGKILL);
        }
        let status = match in_time {
            Ok(status) => status?,
            Err(_) => {
                self.child.start_kill()?;
                self.child.wait().await?
            }
        };
        self.ended = Some(status);
        gone(&members, Instant::now() + GRACE).await;
        Ok(status)
    }
}

/// Waits until all have ended, but no longer than until the deadline.
async fn gone(members: &[Member], deadline: Instant) {
    while Instant::now() < deadline && members.iter().any(Member::runs) {
        sleep(POLL).await;
    }
}

/// Has the kernel send SIGTERM to the command when this process ends, however it ends.
fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let hook = move || {
        set_pdeathsig(Signal::SIGTERM)?;
        if getppid() == parent {
            Ok(())
        } else {
            // The parent has ended before the kernel was asked.
            Err(io::ErrorKind::NotConnected.into())
        }
    };
    // SAFETY: between fork and exec the hook makes two system calls, prctl and getppid, and
    // neither allocates nor takes a lock.
    #[expect(unsafe_code, reason = "std has no safe interface for it")]
    unsafe {
        command.pre_exec(hook);
    }
}

/// A process that ends with CMD. A pid may be reused: the time of the start identifies it.
struct Member {
    pid: i32,
    start: u64,
}

impl Member {
    fn runs(&self) -> bool {
        stat(self.pid).is_some_and(|s| s.starttime == self.start && !"ZX".contains(s.state))
    }

    /// Sends a signal. An error means that the process is gone already, or belongs to another user.
    fn send(&self, signal: Signal) {
        if self.runs() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

fn stat(pid: i32) -> Option<Stat> {
    procfs::process::Process::new(pid).ok()?.stat().ok()
}

/// Finds CMD, its descendants, and its process group, if it has one of its own.
fn members(cmd: i32) -> Vec<Member> {
    let all: BTreeMap<i32, Stat> = all_processes()
        .into_iter()
        .flatten()
        .filter_map(|process| process.ok()?.stat().ok())
        .map(|stat| (stat.pid, stat))
        .collect();
    let belongs = |stat: &Stat| {
        // Pids that are reused while /proc is read could make a circle.
        let ancestors = std::iter::successors(Some(stat), |s| all.get(&s.ppid)).take(all.len());
        stat.pgrp == cmd || { ancestors }.any(|s| s.pid == cmd)
    };
    all.values()
        .filter(|stat| belongs(stat))
        .map(|stat| Member {
            pid: stat.pid,
            start: stat.starttime,
        })
        .collect()
}

/// Returns CMD's exit status, or 128 and the signal that ended it, as in a shell.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|s| 128 + s))
        .unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Cmd {
        let cmd = ["sh", "-c", script].map(OsString::from);
        Cmd::start(&cmd, true).unwrap()
    }

    fn run<T>(task: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(task)
    }

    /// Waits until CMD and its children are this many processes.
    async fn grown(cmd: &Cmd, to: usize) -> Vec<Member> {
        let pid = i32::try_from(cmd.child.id().unwrap()).unwrap();
        loop {
            let members = members(pid);
            if members.len() == to {
                return members;
            }
            sleep(POLL).await;
        }
    }

    #[test]
    fn its_children_end_with_it() {
        run(async {
            // One child leaves the process group, the other stays.
            let mut cmd = shell("setsid sleep 1000 & sleep 1001; true");
            let members = grown(&cmd, 3).await;
            let status = cmd.end().await.unwrap();
            assert_eq!(code(status), 143);
            assert!(!members.iter().any(Member::runs));
            assert_eq!(cmd.end().await.unwrap(), status);
        });
    }

    #[test]
    fn what_ignores_sigterm_is_killed() {
        run(async {
            // Both the shell and its child ignore it.
            let mut cmd = shell("trap '' TERM; sleep 1000; true");
            let members = grown(&cmd, 2).await;
            assert_eq!(code(cmd.end().await.unwrap()), 137);
            assert!(!members.iter().any(Member::runs));
        });
    }

    #[test]
    fn one_that_is_dropped_does_not_run_on() {
        run(async {
            let cmd = shell("exec sleep 1000");
            let members = grown(&cmd, 1).await;
            drop(cmd);
            while members.iter().any(Member::runs) {
                sleep(POLL).await;
            }
        });
    }

    #[test]
    fn one_that_ends_by_itself_keeps_its_status() {
        run(async {
            let mut cmd = shell("exit 3");
            let status = cmd.wait().await.unwrap();
            assert_eq!(cmd.ended(), Some(status));
            assert_eq!(code(cmd.end().await.unwrap()), 3);
        });
    }
}
