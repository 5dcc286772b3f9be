//! Runs one command in a guest kernel.
//!
//! The kernel's console goes to a log. The command's stdout, its stderr and the
//! guest's own status each have a channel of their own (a virtio port, or a
//! serial line for kernels without), so that every byte arrives as it was
//! written. A random mark at a stream's end, which the host takes off again,
//! says that all of it has come; only then is the machine stopped.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::initramfs::{self, Contents, GuestFile};
use crate::kernels::Kernel;
use crate::qemu::{self, Accel, CHANNELS, RunDir, Swap};
use crate::stream::{Marked, Sink};
use crate::tools_disk::Tool;
use crate::{accel, sh};

/// Exit status of `xtask vm` when the guest died or took too long.
pub(crate) const GUEST_FAILED: u8 = 125;

/// What to run, and in what machine.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// Files to put in, beside busybox and the modules.
    pub(crate) files: Vec<GuestFile>,
    /// Processors.
    pub(crate) cpus: u32,
    /// NUMA nodes to split memory and processors over.
    pub(crate) nodes: u32,
    /// Memory.
    pub(crate) memory_mib: u32,
    /// More kernel arguments.
    pub(crate) append: Vec<String>,
    /// How long boot and command may take together.
    pub(crate) timeout: Duration,
    /// Where to swap.
    pub(crate) swap: Swap,
    /// Programs of this machine that are wanted.
    pub(crate) tools: Vec<Tool>,
    /// How the processors run; `None` for the default.
    pub(crate) accel: Option<Accel>,
    /// The command and its arguments.
    pub(crate) command: Vec<OsString>,
}

impl Spec {
    /// The usual machine.
    pub(crate) fn new(kernel: Kernel, command: &[&str]) -> Self {
        Self {
            kernel,
            files: Vec::new(),
            cpus: 2,
            nodes: 1,
            memory_mib: 1024,
            append: Vec::new(),
            timeout: Duration::from_secs(600),
            swap: Swap::Disk,
            tools: Vec::new(),
            accel: None,
            command: command.iter().map(OsString::from).collect(),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The command's exit status (128 + N when signal N killed it).
    pub(crate) status: u8,
    /// From starting the emulator to starting the command.
    pub(crate) boot: Duration,
    /// The clock that the guest reads time from.
    pub(crate) clocksource: String,
    /// The whole run.
    pub(crate) wall: Duration,
}

/// The guest died, or took too long: no fault of the command line.
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
            sh::tail(&self.log, 45)
        )
    }
}

impl std::error::Error for GuestFailed {}

/// Boots the guest and runs the command. Its output goes to the sinks as it
/// comes.
pub(crate) fn run(spec: &Spec, stdout: Sink, stderr: Sink) -> Result<Outcome> {
    let accel = accel::settle(spec)?;
    run_with(spec, accel, stdout, stderr)
}

/// As [`run`], with the accelerator settled.
pub(crate) fn run_with(spec: &Spec, accel: Accel, stdout: Sink, stderr: Sink) -> Result<Outcome> {
    let run = RunDir::new()?;
    let token = token()?;
    let initramfs = run.file("initramfs");
    let scripts = crate::tools_disk::wrappers(&spec.tools);
    initramfs::write(
        &initramfs,
        &Contents {
            modules: spec.kernel.modules.as_deref(),
            intel: accel == Accel::Kvm && accel::host_is_intel(),
            files: &spec.files,
            scripts: &scripts,
            command: &spec.command,
            token: &token,
            swap: spec.swap.word(),
        },
    )?;
    let mut waiting = Vec::new();
    for (channel, name) in CHANNELS.iter().enumerate() {
        for socket in [(*name).to_string(), format!("tty{name}")] {
            waiting.push((channel, listen(&run.file(&socket))?));
        }
    }
    let mut command = qemu::command(spec, accel, &run, &initramfs)?;
    let complaints = run.file("qemu.err");
    let file =
        std::fs::File::create(&complaints).context("cannot write the emulator's messages")?;
    let begun = Instant::now();
    let child = command
        .stderr(Stdio::from(file))
        .spawn()
        .with_context(|| format!("cannot start `{}`", sh::shown(&command)))?;
    let mut guest = Guest {
        child,
        log: run.log.clone(),
        complaints,
        begun,
        timeout: spec.timeout,
    };
    let (send, events) = channel();
    let streams = [
        Arc::new(Mutex::new(Stream {
            marked: Marked::new(&token),
            sink: stdout,
        })),
        Arc::new(Mutex::new(Stream {
            marked: Marked::new(&token),
            sink: stderr,
        })),
    ];
    let result = guest.follow(waiting, &streams, &send, &events);
    let _ = guest.child.kill();
    let _ = guest.child.wait();
    result
}

struct Stream {
    marked: Marked,
    sink: Sink,
}

enum Event {
    /// Stream N has come whole.
    End(usize),
    /// A line of the guest's own.
    Status(String),
    /// The bytes of stream N have no place to go.
    Broken(usize, io::Error),
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
        let said = sh::tail(&self.complaints, 10);
        let why = if said.is_empty() {
            why
        } else {
            format!("{why}; the emulator said: {said}")
        };
        GuestFailed {
            why,
            log: self.log.clone(),
        }
        .into()
    }

    /// Follows the guest to its end.
    fn follow(
        &mut self,
        mut waiting: Vec<(usize, UnixListener)>,
        streams: &[Arc<Mutex<Stream>>; 2],
        send: &Sender<Event>,
        events: &Receiver<Event>,
    ) -> Result<Outcome> {
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
                Ok(Event::End(stream)) => {
                    if let Some(flag) = ended.get_mut(stream) {
                        *flag = true;
                    }
                }
                Ok(Event::Status(line)) => {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    match words.as_slice() {
                        ["ready", _, clock] => {
                            ready = Some((self.begun.elapsed(), (*clock).to_string()));
                        }
                        ["exit", code] => status = code.parse::<u8>().ok(),
                        _ => {}
                    }
                }
                Ok(Event::Broken(stream, error)) => {
                    let name = CHANNELS.get(stream).copied().unwrap_or("?");
                    return Err(error)
                        .with_context(|| format!("cannot pass on the command's std{name}"));
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
                        return Err(
                            self.failed(format!("the guest stopped {when} (the emulator: {end})"))
                        );
                    }
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the guest's readers are gone"),
            }
            if let (Some(status), [true, true]) = (status, ended) {
                let (boot, clocksource) = ready.unwrap_or((Duration::ZERO, "unknown".to_string()));
                return Ok(Outcome {
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
                    "the guest was stopped after {} seconds: {what} (--timeout gives it longer)",
                    self.timeout.as_secs()
                )));
            }
        }
    }
}

fn listen(path: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot make the socket {}", path.display()))?;
    listener
        .set_nonblocking(true)
        .context("cannot prepare a socket")?;
    Ok(listener)
}

/// Starts the thread that reads one of the emulator's sockets.
fn read_socket(
    channel: usize,
    mut socket: UnixStream,
    streams: &[Arc<Mutex<Stream>>; 2],
    send: Sender<Event>,
) -> Result<()> {
    socket
        .set_nonblocking(false)
        .context("cannot prepare a socket")?;
    let stream = streams.get(channel).cloned();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        let mut line = Vec::new();
        while let Ok(count @ 1..) = socket.read(&mut buffer) {
            let data = buffer.get(..count).unwrap_or_default();
            let event = match &stream {
                Some(stream) => pass_on(
                    channel,
                    &mut stream.lock().unwrap_or_else(PoisonError::into_inner),
                    data,
                ),
                None => {
                    line.extend_from_slice(data);
                    while let Some(end) = line.iter().position(|b| *b == b'\n') {
                        let rest = line.split_off(end + 1);
                        let text = String::from_utf8_lossy(&line).into_owned();
                        let _ = send.send(Event::Status(text));
                        line = rest;
                    }
                    None
                }
            };
            if let Some(event) = event {
                let _ = send.send(event);
            }
        }
    });
    Ok(())
}

fn pass_on(channel: usize, stream: &mut Stream, data: &[u8]) -> Option<Event> {
    if stream.marked.ended() {
        return None;
    }
    let out = stream.marked.push(data);
    if let Err(error) = stream
        .sink
        .write_all(&out)
        .and_then(|()| stream.sink.flush_live(stream.marked.ended()))
    {
        return Some(Event::Broken(channel, error));
    }
    stream.marked.ended().then_some(Event::End(channel))
}

/// Sinks that people watch are flushed as bytes come; those that gather lines
/// only at the end.
trait FlushLive {
    fn flush_live(&mut self, end: bool) -> io::Result<()>;
}

impl FlushLive for Sink {
    fn flush_live(&mut self, end: bool) -> io::Result<()> {
        if end { self.flush() } else { Ok(()) }
    }
}

fn token() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
