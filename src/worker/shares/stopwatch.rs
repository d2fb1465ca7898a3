//! For how long something was so, in all. Pure: time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Stopwatch {
    total: Duration,
    /// Since when it is so, if it is.
    since: Option<Instant>,
}

impl Stopwatch {
    pub(super) fn set(&mut self, is_so: bool, now: Instant) {
        self.total = self.total(now);
        self.since = is_so.then_some(now);
    }

    pub(super) fn total(&self, now: Instant) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_counts_in_which_it_was_so() {
        let (began, mut watch) = (Instant::now(), Stopwatch::default());
        let at = |ms| began + Duration::from_millis(ms);
        watch.set(false, at(0));
        watch.set(true, at(100));
        watch.set(true, at(250));
        assert_eq!(watch.total(at(300)), Duration::from_millis(200));
        watch.set(false, at(400));
        assert_eq!(watch.total(at(10_000)), Duration::from_millis(300));
    }
}
