//! HTTP basic authentication (RFC 7617) with bcrypt hashes.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::Engine;
use tokio::sync::Semaphore;

use super::web_config::Users;

/// The number of valid credentials that are remembered, because bcrypt is slow on purpose.
const REMEMBERED: usize = 100;
/// The longest header that is decoded: bcrypt uses 72 bytes of a password.
const LONGEST: usize = 1024;
/// The hash that is checked for an unknown user, so that the time does not reveal who is known. No
/// password has it.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE";

/// Checks passwords one at a time, so that thousands of guesses cost at most one core.
pub(super) struct Auth {
    good: Mutex<HashSet<(u64, u64)>>,
    keys: (RandomState, RandomState),
    one: Arc<Semaphore>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            good: Mutex::default(),
            keys: Default::default(),
            one: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Auth {
    /// Returns whether the headers have valid credentials, or none are required.
    pub(super) async fn allows(&self, users: &Users, headers: &HeaderMap) -> bool {
        if users.is_empty() {
            return true;
        }
        let Some((user, password)) = given(headers) else {
            return false;
        };
        let (hash, known) = match users.get(&user) {
            Some(hash) => (hash.clone(), true),
            None => (NOBODY.to_owned(), false),
        };
        // The hash is part of the key, so that a changed password is checked again.
        let pair = (&user, &password, &hash);
        let key = (self.keys.0.hash_one(pair), self.keys.1.hash_one(pair));
        let good = || self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good().contains(&key) {
            return true;
        }
        let Ok(turn) = Arc::clone(&self.one).acquire_owned().await else {
            return false;
        };
        // The permit lasts until the work ends, even if the client disconnects before.
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            bcrypt::verify(password, &hash).unwrap_or(false)
        })
        .await;
        let right = known && checked.unwrap_or(false);
        if right {
            let mut good = good();
            if good.len() >= REMEMBERED {
                good.clear();
            }
            good.insert(key);
        }
        right
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
        for _ in 0..2 {
            assert!(auth.allows(&users, &headers("alice:secret")).await);
        }
        for wrong in ["alice:", "alice:secret2", "bob:secret", "alice", ":secret"] {
            assert!(!auth.allows(&users, &headers(wrong)).await, "{wrong}");
        }
        assert!(!auth.allows(&users, &HeaderMap::new()).await);
        assert!(auth.allows(&Users::new(), &HeaderMap::new()).await);
        // After a change of the hash, the remembered password is refused.
        let other: Users = [("alice".to_owned(), bcrypt::hash("new", 4).unwrap())].into();
        assert!(!auth.allows(&other, &headers("alice:secret")).await);
    }
}
