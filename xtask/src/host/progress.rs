//! Progress and warnings on stderr; stdout belongs to the command's result.

use std::sync::OnceLock;
use std::time::Instant;

/// The start of this run, from which progress lines count their seconds.
pub(crate) fn started() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Prints one progress line.
pub(crate) fn step(text: &str) {
    eprintln!("[{:3}s] {text}", started().elapsed().as_secs());
}

/// Prints a warning.
pub(crate) fn warn(text: &str) {
    eprintln!("[{:3}s] warning: {text}", started().elapsed().as_secs());
}
