//! Processes that are copies of this one: the cheapest kind, as they load no program.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::error::{Error, Result};

/// A process made by [`start`](Self::start).
#[derive(Debug)]
pub(super) struct Fork(Pid);

impl Fork {
    /// Starts a process that runs `body`, and nothing else of this program.
    ///
    /// # Errors
    ///
    /// [`Error::NotApplicable`] if this process has other threads: a lock that one of them holds
    /// would stay locked in the new process for ever.
    pub(super) fn start(body: impl FnOnce() -> Result<()>) -> Result<Self> {
        // SAFETY: `alone` has found no other thread, so no lock of this process is held by one,
        // and the new process may call anything. It leaves through _exit below.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => Ok(Self(child)),
            Ok(ForkResult::Child) => {
                let code = match catch_unwind(AssertUnwindSafe(body)) {
                    Ok(Ok(())) => 0,
                    Ok(Err(error)) => {
                        eprintln!("process {}: {error}", std::process::id());
                        1
                    }
                    Err(_) => 101,
                };
                // SAFETY: no destructor and no exit handler of the parent's state may run here:
                // they would remove its files and cgroups.
                unsafe { libc::_exit(code) }
            }
            Err(errno) => Err(Error::system(
                "starting a process (fork)",
                errno,
                "raise the limit of processes (ulimit -u, pids.max)",
            )),
        }
    }

    /// Waits for its end, which must be a success.
    pub(super) fn wait(self) -> Result<()> {
        let pid = self.0.as_raw().unsigned_abs();
        let ended = waitpid(self.0, None)
            .map_err(|errno| Error::system("waiting for a process", errno, "please report it"))?;
        match ended {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(Error::Child {
                pid,
                what: format!("it failed ({other:?})"),
            }),
        }
    }
}

/// Fails if this process has other threads.
pub(super) fn alone() -> Result<()> {
    let threads = procfs::process::Process::myself()
        .and_then(|me| me.stat())
        .map_or(0, |stat| stat.num_threads);
    if threads == 1 {
        return Ok(());
    }
    Err(Error::lacking(
        format!("this process has {threads} threads, and only one without others can be copied"),
        "run it in a process of its own: workload churn",
    ))
}
