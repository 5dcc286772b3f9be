//! The terminal: taken over for the dashboard, and restored however the dashboard ends.

use std::{
    io::{self, Stdout, stdin, stdout},
    os::fd::AsFd,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossterm::{
    cursor, execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::{Terminal, backend::CrosstermBackend};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

/// The time that the dashboard has to leave by itself after a signal.
const GRACE: Duration = Duration::from_secs(2);

/// Whether the terminal is taken over.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Restores the terminal; repeated calls do nothing.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Errors mean that the terminal is gone: there is nothing to restore.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
    }
}

/// The terminal while the dashboard has it.
pub(super) struct Screen {
    /// The terminal to draw on.
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Whether the screen has changed since it was drawn.
    pub(super) changed: bool,
    ended: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over. A panic restores it before the message is printed. A signal that
    /// would end the process sets [`Screen::ended`] instead.
    pub(super) fn take() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                before(info);
            }));
        });
        let ended = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT])?;
        let flag = Arc::clone(&ended);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if signals.forever().next().is_some() {
                    flag.store(true, Ordering::SeqCst);
                    // crossterm reads for ever from a terminal that disappears at the wrong
                    // moment. The kernel removes the probes with the process.
                    thread::sleep(GRACE);
                    restore();
                    std::process::exit(0);
                }
            })?;
        TAKEN.store(true, Ordering::SeqCst);
        let taken = (|| {
            enable_raw_mode()?;
            execute!(stdout(), EnterAlternateScreen, cursor::Hide)?;
            Terminal::new(CrosstermBackend::new(stdout()))
        })();
        match taken {
            Ok(terminal) => Ok(Self {
                terminal,
                changed: true,
                ended,
            }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Waits for a key, a resize or a signal, but no longer than `patience`, and returns whether
    /// there is an event to read. An error means that the terminal is gone: crossterm would read
    /// from it for ever.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<bool> {
        if crossterm::event::poll(Duration::ZERO)? {
            return Ok(true);
        }
        let input = stdin();
        let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, patience) {
            // A resize interrupts as a signal.
            Err(nix::errno::Errno::EINTR) => crossterm::event::poll(Duration::ZERO),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
                if fds[0].revents().is_some_and(|r| r.intersects(gone)) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                crossterm::event::poll(Duration::ZERO)
            }
        }
    }

    /// Whether a signal ended the dashboard.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}
