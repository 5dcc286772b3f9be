//! The terminal, taken over for the dashboard and given back however it ends.

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

/// How long a signal waits for the dashboard to leave by itself.
const GRACE: Duration = Duration::from_secs(2);

/// Whether the terminal is taken over right now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back; more than once does no harm.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone can't be restored, and needn't be.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
    }
}

/// The terminal while it is taken over.
pub(super) struct Screen {
    /// To draw on.
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Whether what is to be seen has changed since it was drawn.
    pub(super) changed: bool,
    ended: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over. A panic gives it back before it is told, and a signal that would
    /// end the process only says so.
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
                    // A terminal that goes at the wrong moment leaves crossterm reading it for
                    // ever. The probes go with the process.
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

    /// Waits until something was typed, resized or signalled, but no longer than `patience`;
    /// says whether to read an event. An error says that the terminal is gone: crossterm, asked
    /// for an event then, would read nothing for ever.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<bool> {
        if crossterm::event::poll(Duration::ZERO)? {
            return Ok(true);
        }
        let input = stdin();
        let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, patience) {
            // A resize is a signal.
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

    /// Whether a signal asked for the end.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}
