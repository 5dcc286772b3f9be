//! The web configuration in effect, which is read again when its files change or on SIGHUP.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    signal::unix::Signal,
    time::{MissedTickBehavior, interval},
};

use super::{
    connections::Connections,
    limited::{Limited, and_more},
    manager,
    status::Status,
    web_config::{Files, Web, read, stamp},
};
use crate::commands::logging;

/// How often the files are checked. A change takes effect once they stay the same for that long:
/// a certificate and its key are rarely replaced in one step.
const CHECK: Duration = Duration::from_secs(2);
/// The shortest time between two messages about signals.
const MESSAGES: Duration = Duration::from_secs(1);

/// The settings in effect, and the file that they came from.
#[derive(Debug)]
pub(super) struct WebConfig {
    path: Option<PathBuf>,
    now: RwLock<Arc<Web>>,
    watched: Mutex<Watched>,
    status: Arc<Status>,
    messages: Limited,
}

/// What is known about the files.
#[derive(Debug, Default)]
struct Watched {
    /// Their stamps at the last check, if they differ from those of the settings in effect.
    changed: Option<Files>,
    /// Why the last reload failed.
    failure: Option<String>,
}

/// The outcome of a check of the files, or of a signal.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Reloaded,
    /// The reason, the first time that it is seen.
    Failed(Option<String>),
    Unchanged,
}

impl WebConfig {
    pub(super) fn shared(path: Option<PathBuf>, web: Web, status: &Arc<Status>) -> Arc<Self> {
        if path.is_some() {
            status.loaded(true);
        }
        Arc::new(Self {
            path,
            now: RwLock::new(Arc::new(web)),
            watched: Mutex::default(),
            status: Arc::clone(status),
            messages: Limited::new(MESSAGES),
        })
    }

    pub(super) fn now(&self) -> Arc<Web> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks the files, and reads them again if they have changed.
    fn check(&self) -> Outcome {
        let Some(path) = &self.path else {
            return Outcome::Unchanged;
        };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let used = &self.now().files;
        let found: Files = used.keys().map(|p| (p.clone(), stamp(p))).collect();
        // What has failed is tried again: the file that was missing may not be among these.
        if found == *used && watched.failure.is_none() {
            watched.changed = None;
            return Outcome::Unchanged;
        }
        let settled = watched.changed.as_ref() == Some(&found);
        watched.changed = Some(found);
        if settled {
            self.load(path, &mut watched)
        } else {
            Outcome::Unchanged
        }
    }

    /// Reads the files again.
    fn reload(&self) -> Outcome {
        let Some(path) = &self.path else {
            return Outcome::Unchanged;
        };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.failure = None;
        self.load(path, &mut watched)
    }

    fn load(&self, path: &Path, watched: &mut Watched) -> Outcome {
        let outcome = read(path);
        self.status.loaded(outcome.is_ok());
        match outcome {
            Ok(web) => {
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(web);
                *watched = Watched::default();
                Outcome::Reloaded
            }
            Err(error) => {
                let why = format!("{error:#}");
                let new = watched.failure.as_ref() != Some(&why);
                watched.failure = Some(why.clone());
                Outcome::Failed(new.then_some(why))
            }
        }
    }

    /// Reloads when files change and on the signal, for ever.
    pub(super) async fn watch(
        self: Arc<Self>,
        mut signal: Signal,
        open: Arc<Connections>,
        quiet: bool,
    ) {
        let mut ticks = interval(CHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = signal.recv() => true,
                _ = ticks.tick(), if self.path.is_some() => false,
            };
            if asked {
                manager::reloading();
            }
            // A file system may make it wait, and the server must not.
            let this = Arc::clone(&self);
            let work = move || if asked { this.reload() } else { this.check() };
            let outcome = tokio::task::spawn_blocking(work).await;
            if asked {
                manager::reloaded();
            }
            let Ok(outcome) = outcome else { continue };
            if outcome == Outcome::Reloaded {
                open.close_idle();
            }
            self.report(outcome, asked, quiet);
        }
    }

    fn report(&self, outcome: Outcome, asked: bool, quiet: bool) {
        let more = match asked {
            true => match self.messages.pass() {
                Some(left_out) => and_more(left_out),
                None => return,
            },
            false => String::new(),
        };
        match outcome {
            Outcome::Reloaded if asked => {
                logging::say(quiet, &format!("reloaded the web configuration{more}"));
            }
            Outcome::Reloaded => logging::say(
                quiet,
                "reloaded the web configuration, because its files have changed",
            ),
            Outcome::Failed(Some(why)) => tracing::error!(
                "cannot reload the web configuration, so the previous one stays in effect: \
                 {why}{more}"
            ),
            Outcome::Unchanged if asked => logging::say(
                quiet,
                &format!("there is no web configuration to reload{more}"),
            ),
            Outcome::Failed(None) | Outcome::Unchanged => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_read_once_they_settle_and_a_failure_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.yml");
        let write = |text: &str| fs::write(&path, text).unwrap();
        write("basic_auth_users: {}\n");
        let status = Arc::new(Status::new(None));
        let web = WebConfig::shared(Some(path.clone()), read(&path).unwrap(), &status);
        let successful = || status.reload().unwrap().successful;
        let header = |name: &str| format!("http_server_config: {{headers: {{X: {name}}}}}\n");
        assert_eq!(web.check(), Outcome::Unchanged);
        write(&header("one"));
        assert_eq!(web.check(), Outcome::Unchanged, "it may still change");
        write(&header("other"));
        assert_eq!(web.check(), Outcome::Unchanged, "it did");
        assert_eq!(web.check(), Outcome::Reloaded);
        assert_eq!(web.now().headers[0].1, "other");
        assert_eq!(web.check(), Outcome::Unchanged);
        write("nonsense: 1\n");
        assert_eq!(web.check(), Outcome::Unchanged);
        assert!(matches!(web.check(), Outcome::Failed(Some(_))));
        assert!(!successful());
        assert_eq!(web.check(), Outcome::Failed(None));
        assert!(matches!(web.reload(), Outcome::Failed(Some(_))));
        assert_eq!(web.now().headers[0].1, "other");
        // A file that the settings in effect do not name.
        write("tls_server_config: {cert_file: c, key_file: k}\n");
        assert_eq!(web.check(), Outcome::Unchanged);
        assert!(matches!(web.check(), Outcome::Failed(Some(_))));
        let pair = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        fs::write(dir.path().join("c"), pair.cert.pem()).unwrap();
        fs::write(dir.path().join("k"), pair.signing_key.serialize_pem()).unwrap();
        assert_eq!(web.check(), Outcome::Reloaded);
        assert!(successful() && web.now().tls.is_some());
        assert_eq!(web.now().files.len(), 3);
    }
}
