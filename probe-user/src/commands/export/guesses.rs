//! Credentials that wait for bcrypt.
//!
//! One is checked at a time, so that guessing costs at most one core. A peer that has failed less
//! goes first, then the user who has, then the newest: a right password waits for the check under
//! way, and not behind guesses. What waits is bounded: when there is too much of it, the last in
//! that order is refused.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::connections::Peer;

/// The maximum number that wait, and that wait of one peer.
const ALL: usize = 64;
const OF_PEER: usize = 16;
/// The time after which a failure counts half.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// The number of peers and users whose failures are counted.
const COUNTED: usize = 4096;
/// The salt of hashes that are compared with nothing.
const SALT: [u8; 16] = [0; 16];

/// A password and what it is compared with.
#[derive(Debug)]
pub(super) struct Guess {
    password: String,
    hash: Option<String>,
    /// The costs of hashes that are compared with nothing, so that the time does not show who is
    /// known.
    padding: Vec<u32>,
}

impl Guess {
    /// A password for a user with this hash, or for a user that is not known, among all hashes.
    pub(super) fn new<'a>(
        password: String,
        hash: Option<String>,
        all: impl Iterator<Item = &'a String>,
    ) -> Self {
        let highest = all.map(|hash| cost(hash)).max().unwrap_or_default();
        let padding = match &hash {
            // Each cost is twice the one before: with the user's own, the sum is the highest.
            Some(hash) => (cost(hash)..highest).collect(),
            None => vec![highest],
        };
        Self {
            password,
            hash,
            padding,
        }
    }

    fn is_right(&self) -> bool {
        let hash = self.hash.as_deref();
        if hash.is_some_and(|hash| bcrypt::verify(&self.password, hash).unwrap_or(false)) {
            return true;
        }
        self.pad();
        false
    }

    /// Takes time, and returns how many hashes that took.
    fn pad(&self) -> usize {
        let hashes = self.padding.iter().map(|cost| {
            // A result that is not used might not be computed.
            std::hint::black_box(bcrypt::hash_with_salt(&self.password, *cost, SALT))
        });
        hashes.filter(Result::is_ok).count()
    }
}

fn cost(hash: &str) -> u32 {
    hash.parse::<bcrypt::HashParts>()
        .map_or(0, |parts| parts.get_cost())
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    next: u64,
    running: bool,
    failures: Failures,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    peer: Peer,
    user: u64,
    guess: Guess,
    answer: oneshot::Sender<bool>,
}

impl Guesses {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a guess is right, or `None` if it is refused.
    pub(super) async fn check(
        self: &Arc<Self>,
        from: IpAddr,
        user: u64,
        guess: Guess,
    ) -> Option<bool> {
        let answered = {
            let mut queue = self.queue();
            let answered = queue.add(Peer::of(from), user, guess);
            if !queue.running {
                queue.running = true;
                tokio::spawn(Arc::clone(self).run());
            }
            answered
        };
        answered.await.ok()
    }

    /// Checks one after another, until none waits.
    async fn run(self: Arc<Self>) {
        loop {
            let Some(next) = self.queue().take() else {
                return;
            };
            // It runs to its end, even if the client disconnects: no two at a time.
            let guess = next.guess;
            let right = tokio::task::spawn_blocking(move || guess.is_right())
                .await
                .unwrap_or(false);
            if !right {
                self.queue().failures.add(next.peer, next.user);
            }
            // Fails if the client is gone.
            let _ = next.answer.send(right);
        }
    }
}

impl Queue {
    fn add(&mut self, peer: Peer, user: u64, guess: Guess) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        self.waiting.push(Waiting {
            number: self.next,
            peer,
            user,
            guess,
            answer,
        });
        self.next += 1;
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        if self.waiting.iter().filter(|w| w.peer == peer).count() > OF_PEER {
            self.refuse(|waiting| waiting.peer == peer);
        }
        if self.waiting.len() > ALL {
            self.refuse(|_| true);
        }
        answered
    }

    fn refuse(&mut self, which: impl Fn(&Waiting) -> bool) {
        let all = self.waiting.iter().enumerate();
        let last = all.filter(|(_, w)| which(w)).max_by_key(|(_, w)| {
            // The receiver gets an error.
            self.failures.order(w)
        });
        if let Some((index, _)) = last {
            self.waiting.swap_remove(index);
        }
    }

    fn take(&mut self) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        let all = self.waiting.iter().enumerate();
        let first = all.min_by_key(|(_, w)| self.failures.order(w));
        let Some((index, _)) = first else {
            self.running = false;
            return None;
        };
        Some(self.waiting.swap_remove(index))
    }
}

/// How often peers, and their users, have failed of late.
#[derive(Debug, Default)]
struct Failures(HashMap<(Peer, Option<u64>), (f64, Instant)>);

impl Failures {
    /// The first in this order is checked first.
    fn order(&self, waiting: &Waiting) -> (u64, u64, Reverse<u64>) {
        let Waiting {
            peer, user, number, ..
        } = waiting;
        let now = Instant::now();
        let count = |user| self.count(&(*peer, user), now).round() as u64;
        (count(None), count(Some(*user)), Reverse(*number))
    }

    fn count(&self, key: &(Peer, Option<u64>), now: Instant) -> f64 {
        self.0.get(key).map_or(0.0, |(count, at)| {
            let age = now.saturating_duration_since(*at).as_secs_f64();
            count * (-age / HALF_LIFE.as_secs_f64()).exp2()
        })
    }

    fn add(&mut self, peer: Peer, user: u64) {
        let now = Instant::now();
        if self.0.len() + 2 > COUNTED {
            let faded: HashMap<_, _> = self.0.keys().map(|k| (*k, self.count(k, now))).collect();
            self.0.retain(|key, _| faded[key] >= 0.5);
            if self.0.len() + 2 > COUNTED {
                self.0.clear();
            }
        }
        for key in [(peer, None), (peer, Some(user))] {
            let count = self.count(&key, now) + 1.0;
            self.0.insert(key, (count, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess() -> Guess {
        Guess::new(String::new(), None, [].into_iter())
    }

    fn peer(last: u8) -> Peer {
        Peer::of([192, 0, 2, last].into())
    }

    #[test]
    fn every_user_takes_the_same_time() {
        let hashes = [4, 6, 7].map(|cost| bcrypt::hash("secret", cost).unwrap());
        let rounds = |hash: Option<&String>| {
            let guess = Guess::new("wrong".to_owned(), hash.cloned(), hashes.iter());
            assert!(!guess.is_right());
            assert_eq!(guess.pad(), guess.padding.len(), "an error takes no time");
            let own = hash.map(|hash| cost(hash));
            let costs = own.iter().chain(&guess.padding);
            costs.map(|cost| 1u64 << cost).sum::<u64>()
        };
        for hash in hashes.iter().map(Some).chain([None]) {
            assert_eq!(rounds(hash), 1 << 7);
        }
        let right = Guess::new("secret".to_owned(), Some(hashes[0].clone()), hashes.iter());
        assert!(right.is_right());
    }

    #[test]
    fn guesses_do_not_delay_a_login() {
        let mut queue = Queue::default();
        let mut answers = Vec::new();
        for user in 0..60 {
            answers.push(queue.add(peer(1), user, guess()));
        }
        let refused = |answer: &mut oneshot::Receiver<bool>| {
            answer.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        let count = answers
            .iter_mut()
            .filter_map(|a| refused(a).then_some(()))
            .count();
        assert_eq!(count, 60 - OF_PEER);
        // The same peer, the newest: next.
        let _login = queue.add(peer(1), 99, guess());
        assert_eq!(queue.take().unwrap().user, 99);
        // A guess fails; then another user and another peer go first, also if they came earlier.
        queue.failures.add(peer(1), 5);
        let _other = queue.add(peer(2), 98, guess());
        let _user = queue.add(peer(1), 6, guess());
        let mut guess_again = queue.add(peer(1), 5, guess());
        assert!(refused(&mut guess_again), "the queue is full");
        assert_eq!(queue.take().unwrap().user, 98);
        assert_eq!(queue.take().unwrap().user, 6);
    }

    #[test]
    fn what_waits_and_what_is_counted_is_bounded() {
        let mut queue = Queue::default();
        let mut answers = Vec::new();
        for n in 0..=255 {
            for user in 0..30 {
                answers.push(queue.add(peer(n), user, guess()));
                queue.failures.add(peer(n), user);
            }
        }
        assert_eq!(queue.waiting.len(), ALL);
        assert!(queue.failures.0.len() <= COUNTED);
        // What nobody waits for any more is not checked.
        drop(answers);
        assert!(queue.take().is_none());
    }
}
