//! Deliveries that came back so often that one of them may be what ends each process that works on it.
//!
//! RabbitMQ takes back everything unacked when a process dies, and counts it for all of it. So those that were there too
//! often are held back: first those above suspicion finish, then the suspects go in any order and, at first, one by one.
//! In each life, half of the neighbours of the one that is to blame are done before its turn, until it is alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// Taken back so often, a delivery is suspect.
const SUSPECT_FROM: u64 = 3;
/// So long after its beginning, a session is for those above suspicion.
const HELD_BACK: Duration = Duration::from_secs(1);
/// Each suspect that is settled lets one more go at once, up to so many: a fleet that was cut off a few times has many,
/// all innocent, and codes do not live long.
const MOST_AT_ONCE: usize = 16;

pub(super) fn is_suspect(taken_back: u64) -> bool {
    taken_back >= SUSPECT_FROM
}

/// The suspects of one session; no more than RabbitMQ sends ahead.
pub(super) struct Suspects<T> {
    held: Vec<T>,
    turns: Arc<Turns>,
    from: Instant,
}

struct Turns {
    free: Semaphore,
    made: AtomicUsize,
}

/// A suspect's turn: over when it is settled.
pub(crate) struct Turn(Arc<Turns>);

impl<T> Suspects<T> {
    pub(super) fn new() -> Self {
        let turns = Arc::new(Turns { free: Semaphore::new(1), made: AtomicUsize::new(1) });
        Self { held: Vec::new(), turns, from: Instant::now() + HELD_BACK }
    }

    pub(super) fn hold_back(&mut self, suspect: T) {
        self.held.push(suspect);
    }

    /// Any of them, when it is a suspect's turn; never, while there are none. Dropped half-way, it has taken nothing.
    pub(super) async fn next(&mut self) -> (T, Turn) {
        if self.held.is_empty() {
            std::future::pending::<()>().await;
        }
        sleep_until(self.from).await;
        self.turns.free.acquire().await.expect("the semaphore is never closed").forget();
        (self.held.swap_remove(fastrand::usize(..self.held.len())), Turn(Arc::clone(&self.turns)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let one_more = |made| (made < MOST_AT_ONCE).then_some(made + 1);
        let grows = self.0.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        self.0.free.add_permits(1 + usize::from(grows));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::FutureExt;

    use super::*;

    fn forty() -> Suspects<usize> {
        let mut suspects = Suspects::new();
        (0..40).for_each(|n| suspects.hold_back(n));
        suspects
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_second_of_a_session_is_not_theirs() {
        let began = Instant::now();
        let mut suspects = forty();
        assert!(suspects.next().now_or_never().is_none());
        let _first = suspects.next().await;
        assert!(began.elapsed() >= HELD_BACK);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_goes_when_the_first_is_settled_and_then_two_at_once() {
        let mut suspects = forty();
        let (first, turn) = suspects.next().await;
        assert!(suspects.next().now_or_never().is_none(), "{first} is alone");
        drop(turn);
        let pair = (suspects.next().await, suspects.next().await);
        assert!(suspects.next().now_or_never().is_none(), "two are in hand");
        drop(pair);
    }

    #[tokio::test(start_paused = true)]
    async fn each_goes_once_and_never_too_many_at_once() {
        let mut suspects = forty();
        let (mut gone, mut turns) = (BTreeSet::new(), vec![]);
        while gone.len() < 40 {
            while let Some((suspect, turn)) =
                { if turns.is_empty() { Some(suspects.next().await) } else { suspects.next().now_or_never() } }
            {
                assert!(gone.insert(suspect), "{suspect} goes once");
                turns.push(turn);
            }
            assert!(turns.len() <= MOST_AT_ONCE, "{} at once", turns.len());
            turns.clear();
        }
        assert!(suspects.next().now_or_never().is_none(), "none is left");
    }

    #[test]
    fn three_times_is_too_often() {
        assert_eq!([0, 2, 3, 20].map(is_suspect), [false, false, true, true]);
    }
}
