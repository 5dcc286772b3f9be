//! HTTP basic authentication (RFC 7617) with bcrypt hashes.
//!
//! A check takes as long for every user, known or not: the time of the costliest hash.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::Engine;

use super::{
    guesses::{Guess, Guesses},
    limited::{Limited, and_more},
    web_config::Users,
};

/// The number of valid credentials that are remembered, because bcrypt is slow on purpose.
const REMEMBERED: usize = 100;
/// The number of wrong ones that are remembered, so that a client with an old password costs
/// nothing.
const WRONG: usize = 1000;
/// The longest header that is decoded: bcrypt uses 72 bytes of a password.
const LONGEST: usize = 1024;
/// The shortest time between two messages about failed logins.
const MESSAGES: Duration = Duration::from_secs(10);

/// The answer to credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// They are valid, or none are required.
    Welcome,
    /// They are missing or wrong.
    Wrong,
    /// They were not checked: too many others of the same peer wait.
    TooMany,
}

/// Checks passwords.
pub(super) struct Auth {
    known: Mutex<Known>,
    keys: (RandomState, RandomState),
    guesses: Arc<Guesses>,
    messages: Limited,
}

/// Hashes of credentials that were checked before.
#[derive(Default)]
struct Known {
    right: HashSet<(u64, u64)>,
    wrong: HashSet<(u64, u64)>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            keys: Default::default(),
            guesses: Arc::default(),
            messages: Limited::new(MESSAGES),
        }
    }
}

impl Auth {
    /// Returns whether the headers have valid credentials, or none are required.
    pub(super) async fn check(&self, users: &Users, headers: &HeaderMap, from: IpAddr) -> Answer {
        if users.is_empty() {
            return Answer::Welcome;
        }
        let Some((user, password)) = given(headers) else {
            return Answer::Wrong;
        };
        let hash = users.get(&user);
        // The hash is part of the key, so that a changed password is checked again.
        let key = (&user, &password, hash);
        let key = (self.keys.0.hash_one(key), self.keys.1.hash_one(key));
        let answer = match self.remembered(key) {
            Some(answer) => answer,
            None => {
                let user = self.keys.0.hash_one(&user);
                let guess = Guess::new(password, hash.cloned(), users.values());
                let right = self.guesses.check(from, user, guess).await;
                self.remember(key, right)
            }
        };
        if answer != Answer::Welcome
            && let Some(left_out) = self.messages.pass()
        {
            let what = if answer == Answer::Wrong {
                "failed"
            } else {
                "was refused, because too many others of this peer wait"
            };
            let more = and_more(left_out);
            tracing::warn!("a login from {from} {what}{more}");
        }
        answer
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, key: (u64, u64)) -> Option<Answer> {
        let known = self.known();
        if known.right.contains(&key) {
            return Some(Answer::Welcome);
        }
        known.wrong.contains(&key).then_some(Answer::Wrong)
    }

    fn remember(&self, key: (u64, u64), right: Option<bool>) -> Answer {
        let mut known = self.known();
        let (set, most, answer) = match right {
            Some(true) => (&mut known.right, REMEMBERED, Answer::Welcome),
            Some(false) => (&mut known.wrong, WRONG, Answer::Wrong),
            None => return Answer::TooMany,
        };
        if set.len() >= most {
            set.clear();
        }
        set.insert(key);
        answer
    }
}

/// Returns the user and the password of a request.
fn given(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    if value.len() > LONGEST {
        return None;
    }
    let (scheme, coded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = base64::engine::general_purpose::STANDARD
        .decode(coded.trim())
        .ok()?;
    let text = String::from_utf8(text).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn headers(text: &str) -> HeaderMap {
        let coded = base64::engine::general_purpose::STANDARD.encode(text);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Basic {coded}").parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn only_the_right_password_passes() {
        let auth = Auth::default();
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users: Users = [("alice".to_owned(), hash)].into();
        let check = async |users: &Users, headers: &HeaderMap| {
            auth.check(users, headers, FROM).await == Answer::Welcome
        };
        for _ in 0..2 {
            assert!(check(&users, &headers("alice:secret")).await);
            for wrong in ["alice:", "alice:secret2", "bob:secret", "alice", ":secret"] {
                assert!(!check(&users, &headers(wrong)).await, "{wrong}");
            }
        }
        assert!(!check(&users, &HeaderMap::new()).await);
        assert!(check(&Users::new(), &HeaderMap::new()).await);
        // After a change of the hash, the remembered passwords are checked again.
        let other: Users = [("alice".to_owned(), bcrypt::hash("secret2", 4).unwrap())].into();
        assert!(!check(&other, &headers("alice:secret")).await);
        assert!(check(&other, &headers("alice:secret2")).await);
    }
}
