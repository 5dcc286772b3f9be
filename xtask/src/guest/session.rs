//! One run of a guest, from the boot to the exit status of its command.
//!
//! The kernel's console goes to a log. The command's stdout, its stderr and the guest's own status
//! each have a channel (a virtio port, or a serial line where the kernel has no such ports), so
//! that every byte arrives as it was written. A random mark ends each stream; the host removes it.
//! The machine is stopped only once both marks have arrived.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::guest::channels::{CHANNELS, ChannelEvent, Stream, Streams, listen, read_socket};
use crate::guest::initramfs::{self, Contents};
use crate::guest::machine::{Accel, Machine};
use crate::guest::run_dir::RunDir;
use crate::guest::stream::Sink;
use crate::guest::{qemu, tools_disk};
use crate::host::process;

/// The exit status of `xtask vm` when the guest died or took too long.
pub(crate) const GUEST_FAILED: u8 = 125;

/// The end of a run.
#[derive(Debug, Clone)]
pub(crate) struct GuestExit {
    /// The command's exit status; 128 + N if signal N killed it.
    pub(crate) status: u8,
    /// The time from the emulator's start to the command's.
    pub(crate) boot: Duration,
    /// The guest's clock source.
    pub(crate) clocksource: String,
    /// The duration of the whole run.
    pub(crate) wall: Duration,
}

/// The guest died or took too long, which is not the caller's fault.
#[derive(Debug)]
pub(crate) struct GuestFailed {
    why: String,
    log: PathBuf,
}

impl fmt::Display for GuestFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; the end of its console ({}):\n{}",
            self.why,
            self.log.display(),
            process::tail(&self.log, 45)
        )
    }
}

impl std::error::Error for GuestFailed {}

/// Boots the guest and runs its command. The command's output goes to the sinks as it comes.
pub(crate) fn run(
    machine: &Machine,
    accel: Accel,
    stdout: Sink,
    stderr: Sink,
) -> Result<GuestExit> {
    let run = RunDir::new()?;
    let token = token()?;
    let initramfs = run.file("initramfs");
    let scripts = tools_disk::wrappers(&machine.tools);
    initramfs::write(
        &initramfs,
        &Contents {
            modules: machine.kernel.modules.as_deref(),
            intel: accel == Accel::Kvm && host_is_intel(),
            files: &machine.files,
            scripts: &scripts,
            command: &machine.command,
            token: &token,
            swap: machine.swap.word(),
        },
    )?;
    let mut waiting = Vec::new();
    for (channel, name) in CHANNELS.iter().enumerate() {
        for socket in [(*name).to_string(), format!("tty{name}")] {
            waiting.push((channel, listen(&run.file(&socket))?));
        }
    }
    let tools = match machine.tools.as_slice() {
        [] => None,
        tools => Some(tools_disk::image(tools)?),
    };
    let mut command = qemu::command(machine, accel, &run, &initramfs, tools.as_deref())?;
    let complaints = run.file("qemu.err");
    let file =
        std::fs::File::create(&complaints).context("cannot write the emulator's messages")?;
    let begun = Instant::now();
    let child = command
        .stderr(Stdio::from(file))
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::shown(&command)))?;
    let mut guest = Guest {
        child,
        log: run.log.clone(),
        complaints,
        begun,
        timeout: machine.timeout,
    };
    let (send, events) = channel();
    let streams = [Stream::new(&token, stdout), Stream::new(&token, stderr)];
    let result = guest.follow(waiting, &streams, &send, &events);
    let _ = guest.child.kill();
    let _ = guest.child.wait();
    result
}

struct Guest {
    child: Child,
    log: PathBuf,
    complaints: PathBuf,
    begun: Instant,
    timeout: Duration,
}

impl Guest {
    fn failed(&self, why: String) -> anyhow::Error {
        let said = process::tail(&self.complaints, 10);
        let why = if said.is_empty() {
            why
        } else {
            format!("{why}; the emulator's last messages: {said}")
        };
        GuestFailed {
            why,
            log: self.log.clone(),
        }
        .into()
    }

    /// Waits for the end of the command and of both its streams.
    fn follow(
        &mut self,
        mut waiting: Vec<(usize, UnixListener)>,
        streams: &Streams,
        send: &Sender<ChannelEvent>,
        events: &Receiver<ChannelEvent>,
    ) -> Result<GuestExit> {
        let mut ready = None;
        let mut status = None;
        let mut ended = [false; 2];
        loop {
            let mut still = Vec::new();
            for (channel, listener) in waiting {
                match listener.accept() {
                    Ok((socket, _)) => read_socket(channel, socket, streams, send.clone())?,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        still.push((channel, listener));
                    }
                    Err(e) => return Err(e).context("cannot accept the emulator's connection"),
                }
            }
            waiting = still;
            let patience = Duration::from_millis(if waiting.is_empty() { 100 } else { 5 });
            match events.recv_timeout(patience) {
                Ok(ChannelEvent::End(stream)) => {
                    if let Some(flag) = ended.get_mut(stream) {
                        *flag = true;
                    }
                }
                Ok(ChannelEvent::Status(line)) => {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    match words.as_slice() {
                        ["ready", _, clock] => {
                            ready = Some((self.begun.elapsed(), (*clock).to_string()));
                        }
                        ["exit", code] => status = code.parse::<u8>().ok(),
                        _ => {}
                    }
                }
                Ok(ChannelEvent::Broken(stream, error)) => {
                    let name = CHANNELS.get(stream).copied().unwrap_or("?");
                    return Err(error)
                        .with_context(|| format!("cannot write the command's std{name}"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(end) = self
                        .child
                        .try_wait()
                        .context("cannot wait for the emulator")?
                    {
                        let when = if ready.is_some() {
                            "before its command ended"
                        } else {
                            "while booting"
                        };
                        return Err(self.failed(format!(
                            "the guest stopped {when} (the emulator ended with {end})"
                        )));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("all threads that read from the guest have ended")
                }
            }
            if let (Some(status), [true, true]) = (status, ended) {
                let (boot, clocksource) = ready.unwrap_or((Duration::ZERO, "unknown".to_string()));
                return Ok(GuestExit {
                    status,
                    boot,
                    clocksource,
                    wall: self.begun.elapsed(),
                });
            }
            if self.begun.elapsed() > self.timeout {
                let what = if ready.is_some() {
                    "its command did not end"
                } else {
                    "it did not boot"
                };
                return Err(self.failed(format!(
                    "the guest was stopped after {} seconds: {what} (--timeout sets the limit)",
                    self.timeout.as_secs()
                )));
            }
        }
    }
}

/// Whether this machine's processors are Intel's. The guest sees them by KVM alone: TCG's
/// `-cpu max` is an AMD processor.
fn host_is_intel() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("GenuineIntel"))
}

/// Returns the random mark of this run.
fn token() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
