//! Whether an app is slow: its logins end so seldom that the line cannot wait for them. Pure: time is a parameter.
//!
//! An app's logins are measured in rounds. A round is over when as many have ended as are in hand, and the time that
//! slots were held in it, divided by their number, is what a login takes on average, however few of many hang and
//! whether they end all at once or one by one. What is long is told by the other apps: four times what a login takes
//! where logins succeed best at the same time (`quickness`). So a WeChat or a machine that is slow for everybody makes no
//! app slow, and an app that is slow beside others is found out soon.

use std::time::Duration;

use tokio::time::Instant;

/// Logins that take so many times as long as successes elsewhere are slow.
const TIMES_QUICKEST: u32 = 4;
/// What takes less is never slow: WeChat, the network and this machine may stumble.
const SLOW_AT_LEAST: Duration = Duration::from_millis(300);
/// What takes more is always slow, also where no other app has had success of late.
const SLOW_AT_MOST: Duration = Duration::from_secs(2);
/// An app is slow when it was seen to be so many times in a row, so far apart at least: a process that stood still for
/// a while first takes in what came meanwhile.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How quickly an app's logins end.
#[derive(Default)]
pub(super) struct Pace {
    /// In this round: how long slots were held, up to `counted_at`, and how many logins ended.
    held_for: Duration,
    counted_at: Option<Instant>,
    ended: u32,
    looks: u32,
    last_look: Option<Instant>,
    /// The app is slow until its logins take no longer than this.
    slow: Option<Duration>,
}

/// How long an app's logins must take to be slow, where those of the quickest other app succeed in so long.
pub(super) fn slow_from(quickest: Option<Duration>) -> Duration {
    quickest.map_or(SLOW_AT_MOST, |quickest| (quickest * TIMES_QUICKEST).clamp(SLOW_AT_LEAST, SLOW_AT_MOST))
}

impl Pace {
    /// A login takes a slot, and `held` others have one.
    pub(super) fn begin(&mut self, held: u32, now: Instant) {
        self.count(held, now);
    }

    /// One of `held` logins ends, beside others where it is slow from `bound` on: that counts for who is slow already,
    /// since WeChat may have become slow for the others too.
    pub(super) fn end(&mut self, held: u32, bound: Duration, now: Instant) {
        self.count(held, now);
        self.ended += 1;
        if self.ended < held {
            return;
        }
        let took = self.held_for / self.ended;
        let idle = held == 1;
        if idle || self.slow.is_some_and(|found| took <= found.max(bound)) {
            self.slow = None;
        }
        self.next_round();
    }

    /// Of an app that holds so many slots and has none for its next login: what its logins take, if that may be too
    /// long and it is WeChat that they wait for.
    pub(super) fn suspect(&mut self, held: u32, waits_for_wechat: bool, now: Instant) -> Option<Duration> {
        self.count(held, now);
        if !waits_for_wechat {
            self.next_round();
        }
        let take = self.held_for / held.max(1);
        if take < SLOW_AT_LEAST {
            self.looks = 0;
        }
        (take >= SLOW_AT_LEAST).then_some(take)
    }

    /// Looks at a suspect, whose logins take so long, beside what is slow from this bound on.
    pub(super) fn look(&mut self, take: Duration, bound: Duration, now: Instant) {
        if take < bound {
            self.looks = 0;
        } else if self.looks == 0 || self.last_look.is_none_or(|last| now - last >= BETWEEN_LOOKS) {
            (self.looks, self.last_look) = (self.looks + 1, Some(now));
        }
        if self.looks >= LOOKS {
            self.slow.get_or_insert(bound);
        }
    }

    /// Whether the line cannot wait for the app's logins.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.is_some()
    }

    fn next_round(&mut self) {
        (self.held_for, self.ended, self.looks) = (Duration::ZERO, 0, 0);
    }

    fn count(&mut self, held: u32, now: Instant) {
        let since = self.counted_at.map_or(Duration::ZERO, |counted_at| now - counted_at);
        self.held_for += since * held;
        self.counted_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: Duration = Duration::from_millis(100);

    /// An app with `held` logins in hand since now.
    fn app(held: u32, now: Instant) -> Pace {
        let mut pace = Pace::default();
        (0..held).for_each(|others| pace.begin(others, now));
        pace
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The app's next login finds no slot: is the app slow?
    fn is_slow(pace: &mut Pace, held: u32, quickest: Option<Duration>, now: Instant) -> bool {
        if let Some(take) = pace.suspect(held, true, now) {
            pace.look(take, slow_from(quickest), now);
        }
        pace.is_slow()
    }

    /// Looks every 10 ms while nothing ends; answers when it was found to be slow.
    fn found_slow(pace: &mut Pace, held: u32, quickest: Option<Duration>, from: Instant) -> Option<Duration> {
        (0..1000).map(|n| ms(10 * n)).find(|after| is_slow(pace, held, quickest, from + *after))
    }

    /// So many logins end, each so long after the one before, and others take their slots at once.
    fn turn_over(pace: &mut Pace, held: u32, logins: u32, every: Duration, from: Instant) -> Instant {
        (1..=logins).fold(from, |_, n| {
            let now = from + every * n;
            pace.end(held, slow_from(Some(OTHERS)), now);
            pace.begin(held - 1, now);
            now
        })
    }

    #[test]
    fn an_app_whose_logins_do_not_end_is_slow_soon_beside_quick_ones_and_later_by_itself() {
        let now = Instant::now();
        assert_eq!(found_slow(&mut app(48, now), 48, Some(OTHERS), now), Some(ms(440)));
        assert_eq!(found_slow(&mut app(48, now), 48, Some(ms(200)), now), Some(ms(840)));
        assert_eq!(found_slow(&mut app(48, now), 48, Some(ms(1000)), now), Some(ms(2040)));
        assert_eq!(found_slow(&mut app(48, now), 48, None, now), Some(ms(2040)));
    }

    #[test]
    fn logins_that_hang_and_end_one_by_one_are_slow_and_stay_so() {
        let now = Instant::now();
        let mut pace = app(192, now);
        assert!(found_slow(&mut pace, 192, Some(OTHERS), now).is_some());
        // Twenty seconds each, 192 of them: one ends every 100 ms.
        let later = turn_over(&mut pace, 192, 500, ms(104), now + ms(600));
        assert!(is_slow(&mut pace, 192, Some(OTHERS), later));
    }

    #[test]
    fn logins_that_hang_and_end_all_at_once_stay_slow() {
        let now = Instant::now();
        let mut pace = app(48, now);
        assert!(found_slow(&mut pace, 48, Some(OTHERS), now).is_some());
        let later = turn_over(&mut pace, 48, 48, ms(1), now + ms(20_000));
        assert!(is_slow(&mut pace, 48, Some(OTHERS), later));
    }

    #[test]
    fn an_app_that_recovers_is_no_longer_slow_after_a_quick_turn() {
        let now = Instant::now();
        let mut pace = app(48, now);
        assert!(found_slow(&mut pace, 48, Some(OTHERS), now).is_some());
        let recovered = turn_over(&mut pace, 48, 96, ms(2), now + ms(5000));
        assert!(!is_slow(&mut pace, 48, Some(OTHERS), recovered));
    }

    #[test]
    fn a_few_that_hang_do_not_make_many_slow() {
        let (now, held) = (Instant::now(), 48);
        let mut pace = app(held, now);
        // 36 of 48 slots hang for good; the others turn over in 100 ms each.
        for n in 1..1000 {
            let later = turn_over(&mut pace, held, 1, ms(8), now + ms(8 * (n - 1)));
            assert!(!is_slow(&mut pace, held, Some(OTHERS), later), "{n}");
        }
    }

    #[test]
    fn a_stretch_of_few_logins_says_nothing_of_the_many_that_follow() {
        let now = Instant::now();
        let mut pace = app(2, now);
        let burst = now + ms(1500);
        (2..48).for_each(|others| pace.begin(others, burst));
        assert_eq!(found_slow(&mut pace, 48, Some(OTHERS), burst), Some(ms(380)), "62 ms each by then");
    }

    #[test]
    fn who_waits_for_the_store_is_not_slow() {
        let now = Instant::now();
        let mut pace = app(48, now);
        for n in 0..1000 {
            assert_eq!(pace.suspect(48, false, now + ms(10 * n)), None);
        }
        let back = now + ms(10_000);
        assert_eq!(pace.suspect(48, true, back), None, "what it took until now was not WeChat's fault");
        assert_eq!(pace.suspect(48, true, back + ms(600)), Some(ms(610)));
    }

    #[test]
    fn a_process_that_stood_still_first_takes_in_what_came_meanwhile() {
        let now = Instant::now();
        let mut pace = app(48, now);
        let thawed = now + ms(5000);
        assert!(!is_slow(&mut pace, 48, Some(OTHERS), thawed));
        let later = turn_over(&mut pace, 48, 48, ms(0), thawed + ms(5));
        assert!((1..=20).all(|n| !is_slow(&mut pace, 48, Some(OTHERS), later + ms(5 * n))));
    }
}
