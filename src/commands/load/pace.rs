//! When each login is due. The schedule is fixed at the start: nothing that the line does moves it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Logins at even distances for a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) rate: u32,
    pub(super) duration: Duration,
}

impl Schedule {
    /// How many are due before the end.
    pub(super) fn total(self) -> u64 {
        let total = (u128::from(self.rate) * self.duration.as_nanos()).div_ceil(1_000_000_000);
        u64::try_from(total).expect("a rate and a duration within their bounds")
    }

    /// When the `n`-th is due, counted from 0 and from the start.
    fn due(self, n: u64) -> Duration {
        let nanos = u128::from(n) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).expect("no schedule lasts 500 years"))
    }
}

/// A schedule under way.
pub(super) struct Pace {
    schedule: Schedule,
    begin: Instant,
    next: u64,
}

impl Pace {
    pub(super) fn begin(schedule: Schedule) -> Self {
        Self { schedule, begin: Instant::now(), next: 0 }
    }

    /// Waits until the next login is due, and tells when that was: in the past, where whoever calls was late. None: that
    /// was the last.
    pub(super) async fn next(&mut self) -> Option<Instant> {
        if self.next == self.schedule.total() {
            return None;
        }
        let due = self.begin + self.schedule.due(self.next);
        self.next += 1;
        if due > Instant::now() {
            sleep_until(due).await;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn logins_are_due_at_even_distances_and_add_up_to_the_rate() {
        let schedule = Schedule { rate: 3, duration: Duration::from_secs(2) };
        assert_eq!(schedule.total(), 6);
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(1), Duration::from_nanos(333_333_333));
        assert_eq!(schedule.due(3), Duration::from_secs(1), "no error adds up");
        let odd = Schedule { rate: 1, duration: Duration::from_millis(1500) };
        assert_eq!(odd.total(), 2, "the second is due before the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_was_held_up_is_told_when_each_was_due() {
        let mut pace = Pace::begin(Schedule { rate: 10, duration: Duration::from_secs(2) });
        let begin = pace.next().await.expect("the first");
        sleep(Duration::from_secs(1)).await;
        let held_up = Instant::now();
        for n in 1..=10 {
            assert_eq!(pace.next().await.expect("it is due"), begin + Duration::from_millis(100) * n);
        }
        assert_eq!(Instant::now(), held_up, "those that are due are not waited for");
        let mut left = 0;
        while pace.next().await.is_some() {
            left += 1;
        }
        assert_eq!((left, Instant::now()), (9, begin + Duration::from_millis(1900)));
    }
}
