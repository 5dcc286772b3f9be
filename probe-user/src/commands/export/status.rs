//! The state of the exporter: the beat of the reading thread, the outcome of its last read, and of the
//! last reload.
//!
//! Health checks, systemd's watchdog and the metrics read it, and never wait for the kernel.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::{render::metrics::Reload, snapshot::HookStatus};

/// How long the reading thread may be silent, which beats every second, and after every read.
const SILENCE: Duration = Duration::from_secs(30);
/// The silence after which it is at least slow.
const PROMPT: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(super) struct Status {
    /// Why nothing is measured on this host, and the remedy.
    unsupported: Option<String>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    beat: Instant,
    read: Result<Vec<HookStatus>, String>,
    was_read: bool,
    reload: Option<Reload>,
}

impl Status {
    /// A status before the first read.
    pub(super) fn new(unsupported: Option<String>) -> Self {
        let inner = Inner {
            beat: Instant::now(),
            read: Err("the counters have not been read yet".to_owned()),
            was_read: false,
            reload: None,
        };
        Self {
            unsupported,
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reading thread is not stuck.
    pub(super) fn beat(&self) {
        self.inner().beat = Instant::now();
    }

    /// Records a read: the hooks, or why the counters cannot be read.
    pub(super) fn read(&self, outcome: Result<&[HookStatus], &String>) {
        let mut inner = self.inner();
        inner.beat = Instant::now();
        let outcome = outcome.map(<[_]>::to_vec).map_err(String::clone);
        let before = std::mem::replace(&mut inner.read, outcome);
        match (before, &inner.read) {
            (Ok(_), Err(why)) => tracing::error!("{why}"),
            (Err(_), Ok(_)) if inner.was_read => tracing::warn!("the counters can be read again"),
            _ => {}
        }
        inner.was_read |= inner.read.is_ok();
    }

    /// Returns whether the last read has failed, or there was none yet.
    pub(super) fn unread(&self) -> bool {
        self.inner().read.is_err()
    }

    /// Returns whether the reading thread has beaten lately.
    pub(super) fn responds(&self) -> bool {
        self.inner().beat.elapsed() < PROMPT
    }

    /// Returns why nothing is measured on this host, and the remedy, if so.
    pub(super) fn unsupported(&self) -> Option<&str> {
        self.unsupported.as_deref()
    }

    /// Returns why the reading thread does not live, if so.
    pub(super) fn stuck(&self) -> Option<String> {
        let silent = self.inner().beat.elapsed();
        (silent > SILENCE).then(|| {
            let seconds = silent.as_secs();
            format!("the thread that reads the counters has not responded for {seconds} s")
        })
    }

    /// Returns the hooks if the counters can be read, otherwise the reason.
    pub(super) fn ready(&self) -> Result<Vec<HookStatus>, String> {
        match (&self.unsupported, self.stuck()) {
            (Some(why), _) => Err(why.clone()),
            (None, Some(why)) => Err(why),
            (None, None) => self.inner().read.clone(),
        }
    }

    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        let mut inner = self.inner();
        if let Some(before) = inner.beat.checked_sub(by) {
            inner.beat = before;
        }
    }

    /// Records the outcome of reading the web configuration.
    pub(super) fn loaded(&self, successful: bool) {
        let mut inner = self.inner();
        let before = inner.reload.and_then(|reload| reload.success);
        inner.reload = Some(Reload {
            successful,
            success: if successful {
                Some(SystemTime::now())
            } else {
                before
            },
        });
    }

    /// Returns the outcome of the last reload, if there is a web configuration.
    pub(super) fn reload(&self) -> Option<Reload> {
        self.inner().reload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_thread_is_stuck_until_it_beats() {
        let status = Status::new(None);
        status.read(Ok(&[]));
        assert!(status.stuck().is_none() && status.ready().is_ok());
        status.age(2 * SILENCE);
        let why = status.stuck().unwrap();
        assert!(why.contains("has not responded for 60 s"), "{why}");
        assert_eq!(status.ready(), Err(why));
        status.beat();
        assert!(status.stuck().is_none() && status.ready().is_ok());
        status.read(Err(&"cannot read".to_owned()));
        assert!(status.stuck().is_none(), "it responds");
        assert_eq!(status.ready(), Err("cannot read".to_owned()));
    }

    #[test]
    fn a_failed_reload_keeps_the_time_of_the_last_success() {
        let status = Status::new(None);
        assert_eq!(status.reload(), None);
        status.loaded(true);
        let first = status.reload().unwrap();
        assert!(first.successful && first.success.is_some());
        status.loaded(false);
        let second = status.reload().unwrap();
        assert!(!second.successful);
        assert_eq!(second.success, first.success);
    }
}
