//! Whether a login has time enough left to be worth a slot. Pure: time is a parameter.
//!
//! Where more logins come than there are slots for, the next one in a queue is always the oldest, so one that is just
//! about to expire: asked, each would come a moment too late, its code spent for nothing, and nobody would be served at
//! all. So while an app is crowded, a login that has less time left than a success takes is not asked. Where there is
//! room, it is: it can only win.

use std::time::Duration;

use tokio::time::Instant;

use crate::worker::shares::OF_LATE;

/// So long after a login found no slot, its app is crowded.
const CROWDED_FOR: Duration = Duration::from_millis(200);
/// A login should have time for a success that takes longer than usual by so many times the usual deviation.
const DEVIATIONS: u32 = 2;
/// And its result has to be written, and to be found by those who look for it now and then.
const TOLD_IN: Duration = Duration::from_millis(50);

/// What an app's successes take, from slot to phone number, and whether there are enough slots for its logins.
#[derive(Default)]
pub(super) struct Turnaround {
    successes: Option<Successes>,
    crowded_at: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Successes {
    mean: Duration,
    /// By how much they differ from it.
    deviation: Duration,
    last: Instant,
}

impl Turnaround {
    /// A login had its phone number so long after its slot, by its first asking.
    pub(super) fn succeed(&mut self, took: Duration, now: Instant) {
        let (mean, deviation) = match self.of_late(now) {
            Some(Successes { mean, deviation, .. }) => {
                ((mean * 7 + took) / 8, (deviation * 3 + took.abs_diff(mean)) / 4)
            }
            None => (took, Duration::ZERO),
        };
        self.successes = Some(Successes { mean, deviation, last: now });
    }

    /// A login found no slot.
    pub(super) fn find_crowded(&mut self, now: Instant) {
        self.crowded_at = Some(now);
    }

    /// Whether a login that has so much time left would take a slot from one that has more.
    pub(super) fn is_too_late(&self, left: Duration, now: Instant) -> bool {
        self.crowded_at.is_some_and(|at| now - at < CROWDED_FOR) && left < self.takes(now)
    }

    /// What a success takes, if it is not one of the slowest; nothing, while that is not known.
    fn takes(&self, now: Instant) -> Duration {
        self.of_late(now).map_or(Duration::ZERO, |usual| usual.mean + usual.deviation * DEVIATIONS + TOLD_IN)
    }

    fn of_late(&self, now: Instant) -> Option<Successes> {
        self.successes.filter(|successes| now - successes.last < OF_LATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Successes take this long by turns, for long enough to be usual.
    fn usual(takes: [u64; 2], now: Instant) -> Turnaround {
        let mut turnaround = Turnaround::default();
        (0..50).for_each(|n| turnaround.succeed(ms(takes[n % 2]), now));
        turnaround
    }

    #[test]
    fn where_nobody_waits_for_a_slot_no_login_is_too_late() {
        let now = Instant::now();
        assert!(!usual([80, 80], now).is_too_late(ms(1), now));
    }

    #[test]
    fn in_a_crowd_a_login_needs_as_much_time_as_a_success_takes() {
        let now = Instant::now();
        let mut even = usual([80, 80], now);
        even.find_crowded(now);
        assert_eq!([129, 130].map(|left| even.is_too_late(ms(left), now)), [true, false]);
        let mut uneven = usual([60, 100], now);
        uneven.find_crowded(now);
        assert_eq!([150, 180].map(|left| uneven.is_too_late(ms(left), now)), [true, false], "the slower ones count");
    }

    #[test]
    fn before_the_first_success_and_long_after_the_last_any_time_will_do() {
        let now = Instant::now();
        let mut turnaround = Turnaround::default();
        turnaround.find_crowded(now);
        assert!(!turnaround.is_too_late(ms(1), now));
        turnaround.succeed(ms(80), now);
        assert!(turnaround.is_too_late(ms(1), now));
        let later = now + OF_LATE;
        turnaround.find_crowded(later);
        assert!(!turnaround.is_too_late(ms(1), later));
    }

    #[test]
    fn a_crowd_disperses_by_itself_so_that_a_wechat_that_is_quick_again_is_found_out() {
        let now = Instant::now();
        let mut turnaround = usual([4000, 4000], now);
        turnaround.find_crowded(now);
        assert!(turnaround.is_too_late(ms(3000), now), "nobody is asked, so the slots are soon free");
        let later = now + CROWDED_FOR;
        assert!(!turnaround.is_too_late(ms(3000), later));
        (0..20).for_each(|_| turnaround.succeed(ms(80), later));
        turnaround.find_crowded(later);
        assert!(!turnaround.is_too_late(ms(3000), later));
    }
}
