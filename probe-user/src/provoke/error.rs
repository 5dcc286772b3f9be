//! What can go wrong while provoking, and what to do about it.

use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be provoked.
///
/// Every message says what was attempted, why it failed, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed, and this program cannot say more about it.
    #[error("{action}: {errno}; {remedy}")]
    System {
        /// What was attempted.
        action: String,
        /// The kernel's answer.
        errno: Errno,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A file could not be read or written.
    #[error("{action} {path}: {source}; {remedy}", path = path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The machine lacks something that the provocation needs. The program didn't fail: callers
    /// report "not applicable" or exit with 77.
    #[error("this machine cannot run it: {reason}; {remedy}")]
    NotApplicable {
        /// What is missing.
        reason: String,
        /// How to get it.
        remedy: String,
    },
    /// A number given by the user is out of range.
    #[error("{what} is {got}, which is outside the range {allowed}; give a number within it")]
    OutOfRange {
        /// The name of the number.
        what: &'static str,
        /// The value given.
        got: u64,
        /// The allowed range, in words.
        allowed: &'static str,
    },
    /// No scenario has that name.
    #[error("there is no scenario {name:?}; the scenarios are: {known}")]
    UnknownScenario {
        /// The requested name.
        name: String,
        /// All known names, separated by commas.
        known: String,
    },
    /// A child process failed or didn't obey.
    #[error("child process {pid}: {what}; see its messages on stderr")]
    Child {
        /// Its process id.
        pid: u32,
        /// What went wrong.
        what: String,
    },
}

impl Error {
    /// Makes the error of a failed system call.
    pub(crate) fn system(action: impl Into<String>, errno: Errno, remedy: &'static str) -> Self {
        Self::System {
            action: action.into(),
            errno,
            remedy,
        }
    }

    /// Makes the error for something that the machine lacks.
    pub(crate) fn lacking(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::NotApplicable {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// Returns whether the machine is the reason and not the program (exit status 77).
    #[must_use]
    pub fn is_not_applicable(&self) -> bool {
        matches!(self, Self::NotApplicable { .. })
    }
}

/// Turns an [`std::io::Error`] of a file operation into an [`Error::File`].
pub(crate) fn at_file(
    action: &'static str,
    path: impl Into<PathBuf>,
    remedy: &'static str,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::File {
        action,
        path,
        source,
        remedy,
    }
}
