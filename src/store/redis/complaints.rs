//! What is wrong with Redis, logged when it is new and again while it lasts, and not for each command.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Interval between two log lines about the same thing.
const EVERY: Duration = Duration::from_secs(30);
/// Maximum number of different things that are remembered; what comes beyond them is not logged.
const KINDS_MAX: usize = 64;

/// When each thing was last logged.
#[derive(Default)]
pub(super) struct Complaints(Mutex<HashMap<String, Instant>>);

impl Complaints {
    /// Whether a line about `what` is due.
    pub(super) fn is_due(&self, what: &str) -> bool {
        let mut told = self.0.lock().expect("nothing panics while holding it");
        let now = Instant::now();
        if let Some(last) = told.get_mut(what) {
            let is_due = now.duration_since(*last) >= EVERY;
            if is_due {
                *last = now;
            }
            return is_due;
        }
        told.retain(|_, last| now.duration_since(*last) < EVERY);
        let is_due = told.len() < KINDS_MAX;
        if is_due {
            told.insert(what.to_owned(), now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_thing_is_logged_once_in_thirty_seconds_and_others_at_once() {
        let complaints = Complaints::default();
        assert!(complaints.is_due("NOPERM") && complaints.is_due("OOM"));
        assert!(!complaints.is_due("NOPERM"));
        tokio::time::advance(EVERY).await;
        assert!(complaints.is_due("NOPERM"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let complaints = Complaints::default();
        let due = (0..1000).filter(|n| complaints.is_due(&n.to_string())).count();
        assert_eq!(due, KINDS_MAX);
    }
}
