//! How quickly an app's logins succeed: the measure that others are held against. Pure: time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

use crate::worker::shares::OF_LATE;

#[derive(Default)]
pub(super) struct Quickness {
    last: Option<Success>,
    /// Since when logins have waited for WeChat, and none has succeeded.
    silent_since: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Success {
    took: Duration,
    ended: Instant,
    /// What it and those before it took, smoothed.
    usual: Duration,
}

impl Quickness {
    /// A login begins to wait for WeChat, as so many others do.
    pub(super) fn begin(&mut self, others: u32, now: Instant) {
        if others == 0 {
            self.silent_since = Some(now);
        }
    }

    /// A login waits no more, and so many others still do. If it had its phone number by the first asking, that took so
    /// long.
    pub(super) fn end(&mut self, others: u32, succeeded_in: Option<Duration>, now: Instant) {
        if let Some(took) = succeeded_in {
            let usual = self.usual(now).map_or(took, |usual| (usual * 7 + took) / 8);
            self.last = Some(Success { took, ended: now, usual });
            self.silent_since = Some(now);
        }
        if others == 0 {
            self.silent_since = None;
        }
    }

    /// What a success usually takes, where there was one of late.
    pub(super) fn usual(&self, now: Instant) -> Option<Duration> {
        self.last.filter(|last| now - last.ended < OF_LATE).map(|last| last.usual)
    }

    /// What a success takes at this moment, where a login has both begun and succeeded `within` so long: what was before
    /// says nothing of a WeChat, or a machine, that has become slow since. It is no quicker than its last sign of life.
    pub(super) fn at_this_moment(&self, within: Duration, now: Instant) -> Option<Duration> {
        let last = self.last.filter(|last| now - last.ended + last.took <= within)?;
        let silence = self.silent_since.map_or(Duration::ZERO, |since| now - since);
        Some(last.usual.max(last.took).max(silence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One login after the other, with no pause; answers when the last has ended.
    fn succeed(quickness: &mut Quickness, each: &[u64], from: Instant) -> Instant {
        each.iter().fold(from, |now, took| {
            quickness.begin(0, now);
            quickness.end(0, Some(ms(*took)), now + ms(*took));
            now + ms(*took)
        })
    }

    #[test]
    fn only_what_succeeded_of_late_is_usual() {
        let mut quickness = Quickness::default();
        assert_eq!(quickness.usual(Instant::now()), None);
        let now = succeed(&mut quickness, &[80, 160], Instant::now());
        assert_eq!(quickness.usual(now + ms(9_999)), Some(ms(90)));
        assert_eq!(quickness.usual(now + ms(10_000)), None);
    }

    #[test]
    fn what_began_before_says_nothing_of_this_moment() {
        let mut quickness = Quickness::default();
        let now = succeed(&mut quickness, &[80], Instant::now());
        assert_eq!(quickness.at_this_moment(ms(300), now + ms(220)), Some(ms(80)));
        assert_eq!(quickness.at_this_moment(ms(300), now + ms(221)), None);
    }

    #[test]
    fn no_moment_is_quicker_than_its_last_sign() {
        let mut quickness = Quickness::default();
        let now = succeed(&mut quickness, &[80, 80, 400], Instant::now());
        assert_eq!(quickness.at_this_moment(ms(1000), now), Some(ms(400)), "and not the 120 that are usual");
        let now = succeed(&mut quickness, &[64], now);
        assert_eq!(quickness.at_this_moment(ms(1000), now), Some(ms(113)));
        quickness.begin(0, now + ms(100));
        quickness.begin(1, now + ms(300));
        assert_eq!(quickness.at_this_moment(ms(1000), now + ms(600)), Some(ms(500)), "so long the first has waited");
        quickness.end(1, None, now + ms(600));
        assert_eq!(quickness.at_this_moment(ms(1000), now + ms(600)), Some(ms(500)), "a failure is no sign");
        quickness.end(0, None, now + ms(600));
        assert_eq!(quickness.at_this_moment(ms(1000), now + ms(600)), Some(ms(113)), "nobody waits");
    }
}
