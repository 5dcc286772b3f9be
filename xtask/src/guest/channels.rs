//! The channels between a guest and this process: sockets of the emulator, each read by a thread.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::guest::stream::{Marked, Sink};

/// The names of the channels, in the order of their sockets: the command's stdout, its stderr, and
/// the guest's own status.
pub(crate) const CHANNELS: [&str; 3] = ["out", "err", "status"];

/// The command's stdout and stderr.
pub(crate) type Streams = [Arc<Mutex<Stream>>; 2];

/// One stream of the command, up to the mark at its end.
pub(crate) struct Stream {
    marked: Marked,
    sink: Sink,
}

impl Stream {
    /// A stream that ends with `mark` and goes to `sink`.
    pub(crate) fn new(mark: &str, sink: Sink) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            marked: Marked::new(mark),
            sink,
        }))
    }
}

/// What a reading thread reports.
pub(crate) enum ChannelEvent {
    /// Stream N is complete.
    End(usize),
    /// A line of the guest's status.
    Status(String),
    /// The sink of stream N refused its bytes.
    Broken(usize, io::Error),
}

/// Makes a socket for the emulator to connect to.
pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot make the socket {}", path.display()))?;
    listener
        .set_nonblocking(true)
        .context("cannot prepare a socket")?;
    Ok(listener)
}

/// Starts the thread that reads one of the emulator's sockets.
pub(crate) fn read_socket(
    channel: usize,
    mut socket: UnixStream,
    streams: &Streams,
    send: Sender<ChannelEvent>,
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
                        let _ = send.send(ChannelEvent::Status(text));
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

/// Passes bytes on to a stream's sink.
fn pass_on(channel: usize, stream: &mut Stream, data: &[u8]) -> Option<ChannelEvent> {
    if stream.marked.ended() {
        return None;
    }
    let out = stream.marked.push(data);
    let ended = stream.marked.ended();
    // A flush in the middle would break a line in two for sinks that gather lines.
    let flush = |sink: &mut Sink| if ended { sink.flush() } else { Ok(()) };
    if let Err(error) = stream
        .sink
        .write_all(&out)
        .and_then(|()| flush(&mut stream.sink))
    {
        return Some(ChannelEvent::Broken(channel, error));
    }
    ended.then_some(ChannelEvent::End(channel))
}
