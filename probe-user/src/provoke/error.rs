//! What can go wrong while provoking, each with what to do about it.

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
    /// A system call failed in a way this program can't explain further.
    #[error("{action}: {errno}; {remedy}")]
    System {
        /// What was being done, in words.
        action: String,
        /// The kernel's answer.
        errno: Errno,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A file could not be read or written.
    #[error("{action} {path}: {source}; {remedy}", path = path.display())]
    File {
        /// What was being done, in words.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The machine lacks something that the provocation needs. Not a failure of the
    /// program: callers report it as "not applicable" or exit with 77.
    #[error("this machine can't run it: {reason}; {remedy}")]
    NotApplicable {
        /// What is missing.
        reason: String,
        /// How to get it.
        remedy: String,
    },
    /// A number given by the user is out of range.
    #[error("{what} is {got}, which is outside {allowed}; give a number within it")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What was given.
        got: u64,
        /// The range, in words.
        allowed: &'static str,
    },
    /// No scenario has that name.
    #[error("there is no scenario {name:?}; the scenarios are: {known}")]
    UnknownScenario {
        /// The name asked for.
        name: String,
        /// All the names there are, comma separated.
        known: String,
    },
    /// A child process didn't do as it was told.
    #[error("child process {pid}: {what}; its own words are on stderr")]
    Child {
        /// Its process id.
        pid: u32,
        /// What went wrong.
        what: String,
    },
}

impl Error {
    /// A failed system call.
    pub(crate) fn system(action: impl Into<String>, errno: Errno, remedy: &'static str) -> Self {
        Self::System {
            action: action.into(),
            errno,
            remedy,
        }
    }

    /// Something the machine lacks.
    pub(crate) fn lacking(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::NotApplicable {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// True where the machine, not the program, is the reason (exit status 77).
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
