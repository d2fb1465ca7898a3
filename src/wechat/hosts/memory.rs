//! Which host is well: what calls have told, and whose turn it is.
//!
//! Pure: time and dice are parameters, so that it can be tested as a table.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// For so long a host is left alone that could not be reached.
const PAUSE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

/// What is remembered of each host.
pub(super) struct Memory {
    hosts: Vec<Host>,
    /// How long one call may look at a host that was down, while the others still leave it alone.
    look: Duration,
}

/// One host's turn in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wechat) struct Turn {
    /// Which host, by its place in the order of preference.
    pub(in crate::wechat) host: usize,
    began: Instant,
    /// It is known to be down, and its pause is not over: that it cannot be reached is no news.
    last_resort: bool,
}

/// What a turn told about its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Answered,
    /// Perhaps reached; no answer was heard.
    Unheard,
    Unreachable,
}

/// What became of a host by what a turn told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Well,
    /// Calls now go to `instead`, if any host is well.
    Down {
        instead: Option<usize>,
    },
}

#[derive(Clone, Copy, Default)]
struct Host {
    /// What a turn tells that began before this is old news.
    changed: Option<Instant>,
    down: Option<Down>,
}

#[derive(Clone, Copy)]
struct Down {
    /// How often it was looked at in vain since it could not be reached.
    failures: u32,
    until: Instant,
}

impl Memory {
    pub(super) fn new(hosts: usize, look: Duration) -> Self {
        Self { hosts: vec![Host::default(); hosts], look }
    }

    pub(super) fn is_well(&self, host: usize) -> bool {
        self.hosts[host].down.is_none()
    }

    /// The first host that is well, or whose pause is over; else the one whose pause ends first.
    pub(super) fn turn(&mut self, tried: &[usize], now: Instant) -> Option<Turn> {
        let untried = || (0..self.hosts.len()).filter(|host| !tried.contains(host));
        let until = |host: &usize| self.hosts[*host].down.map(|down| down.until);
        let fit = untried().find(|host| until(host).is_none_or(|until| until <= now));
        let host = fit.or_else(|| untried().min_by_key(until))?;
        if fit.is_some()
            && let Some(down) = &mut self.hosts[host].down
        {
            // This call looks, and the others leave it alone meanwhile. Should this one be dropped, the next looks then.
            down.until = now + self.look;
        }
        Some(Turn { host, began: now, last_resort: fit.is_none() })
    }

    pub(super) fn learn(&mut self, turn: Turn, told: Told, now: Instant, dice: f64) -> Option<Change> {
        let Host { changed, down } = self.hosts[turn.host];
        if changed.is_some_and(|changed| turn.began < changed) {
            return None;
        }
        let rest = |failures| Some(Down { failures, until: now + PAUSE.pause(failures, dice) });
        let down = match (told, down) {
            (Told::Answered, Some(_)) => None,
            (Told::Unreachable, None) => rest(0),
            // A look in vain. An answer that was not heard keeps a host down, but brings none down.
            (Told::Unreachable | Told::Unheard, Some(down)) if !turn.last_resort => rest(down.failures + 1),
            _ => return None,
        };
        let was_well = self.is_well(turn.host);
        self.hosts[turn.host] = Host { changed: Some(now), down };
        match (was_well, down) {
            (_, None) => Some(Change::Well),
            (true, Some(_)) => Some(Change::Down { instead: (0..self.hosts.len()).find(|host| self.is_well(*host)) }),
            (false, Some(_)) => None,
        }
    }
}

impl Turn {
    /// The turn of a host that is well.
    pub(super) fn of_well(host: usize, began: Instant) -> Self {
        Self { host, began, last_resort: false }
    }
}

#[cfg(test)]
mod tests {
    use super::Told::{Answered, Unheard, Unreachable};
    use super::*;

    const LOOK: Duration = Duration::from_secs(5);

    /// A memory of three hosts, and a clock that a test moves by hand; dice fall on the longest pause.
    struct Table {
        memory: Memory,
        now: Instant,
    }

    impl Table {
        fn new() -> Self {
            Self { memory: Memory::new(3, LOOK), now: Instant::now() }
        }

        fn after(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        fn turn(&mut self, tried: &[usize]) -> Turn {
            self.memory.turn(tried, self.now).expect("a host is left")
        }

        /// Which host a call that begins now tries first.
        fn first(&mut self) -> usize {
            self.turn(&[]).host
        }

        fn learn(&mut self, turn: Turn, told: Told) -> Option<Change> {
            self.memory.learn(turn, told, self.now, 1.0)
        }

        /// The turn that is due next, which ends a moment later like this.
        fn goes(&mut self, tried: &[usize], told: Told) -> (usize, Option<Change>) {
            let turn = self.turn(tried);
            self.after(1);
            (turn.host, self.learn(turn, told))
        }
    }

    #[test]
    fn the_first_host_is_used_while_it_is_well_whatever_it_answers() {
        let mut table = Table::new();
        for told in [Answered, Unheard, Answered] {
            assert_eq!(table.goes(&[], told), (0, None));
        }
    }

    #[test]
    fn a_call_tries_every_host_once_in_order() {
        let mut table = Table::new();
        assert_eq!(table.goes(&[], Unreachable), (0, Some(Change::Down { instead: Some(1) })));
        assert_eq!(table.goes(&[0], Unreachable), (1, Some(Change::Down { instead: Some(2) })));
        assert_eq!(table.goes(&[0, 1], Unreachable), (2, Some(Change::Down { instead: None })));
        assert_eq!(table.memory.turn(&[0, 1, 2], table.now), None);
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_left_alone_for_1_s_doubling_to_30_s() {
        let mut table = Table::new();
        table.goes(&[], Unreachable);
        for pause_ms in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert_eq!(table.after(pause_ms - 1).first(), 1, "after nearly {pause_ms} ms");
            assert_eq!(table.after(1).goes(&[], Unreachable), (0, None), "after {pause_ms} ms");
        }
    }

    #[test]
    fn one_call_looks_at_a_host_whose_pause_is_over_and_the_others_do_not_wait_for_it() {
        let mut table = Table::new();
        table.goes(&[], Unreachable);
        let look = table.after(1000).turn(&[]);
        assert_eq!((look.host, table.first(), table.first()), (0, 1, 1));
        assert_eq!(table.after(2000).learn(look, Answered), Some(Change::Well));
        assert_eq!((table.first(), table.first()), (0, 0));
        assert_eq!(table.goes(&[], Unreachable), (0, Some(Change::Down { instead: Some(1) })));
        assert_eq!(table.after(1000).first(), 0, "the pause is short again");
    }

    #[test]
    fn a_look_that_never_ends_is_followed_by_another() {
        let mut table = Table::new();
        table.goes(&[], Unreachable);
        assert_eq!(table.after(1000).first(), 0);
        assert_eq!(table.after(LOOK.as_millis() as u64 - 1).first(), 1);
        assert_eq!(table.after(1).first(), 0);
    }

    #[test]
    fn a_look_whose_answer_is_not_heard_is_in_vain() {
        let mut table = Table::new();
        table.goes(&[], Unreachable);
        assert_eq!(table.after(1000).goes(&[], Unheard), (0, None));
        assert_eq!(table.after(1999).first(), 1);
        assert_eq!(table.after(1).first(), 0);
    }

    #[test]
    fn many_that_fail_at_once_are_one_failure() {
        let mut table = Table::new();
        let calls: Vec<_> = (0..100).map(|_| table.turn(&[])).collect();
        let changes = calls.iter().filter(|call| table.after(1).learn(**call, Unreachable).is_some());
        assert_eq!(changes.count(), 1);
        assert_eq!(table.after(900).first(), 1, "999 ms after the first of them");
        assert_eq!(table.after(1).first(), 0);
    }

    #[test]
    fn what_began_before_a_change_is_old_news() {
        let mut table = Table::new();
        let (early, late) = (table.turn(&[]), table.turn(&[]));
        table.after(1).goes(&[], Unreachable);
        assert_eq!(table.learn(early, Answered), None, "it was answered by what is gone now");
        assert_eq!(table.first(), 1);
        assert_eq!(table.after(1000).goes(&[], Answered), (0, Some(Change::Well)));
        assert_eq!(table.learn(late, Unreachable), None, "it has come back since");
        assert_eq!(table.first(), 0);
    }

    #[test]
    fn where_no_host_is_well_the_one_whose_pause_ends_first_is_tried_first() {
        let mut table = Table::new();
        for tried in [&[][..], &[0], &[0, 1]] {
            table.goes(tried, Unreachable);
        }
        table.after(1000);
        assert_eq!([table.goes(&[], Unreachable).0, table.goes(&[0], Unreachable).0], [0, 1], "both for 2 s now");
        assert_eq!(table.goes(&[0, 1], Answered), (2, Some(Change::Well)));
        assert_eq!(table.goes(&[], Unreachable), (2, Some(Change::Down { instead: None })));
        let order = [table.first(), table.turn(&[2]).host, table.turn(&[2, 0]).host];
        assert_eq!(order, [2, 0, 1]);
        assert_eq!(table.goes(&[], Unreachable), (2, None));
        assert_eq!(table.goes(&[2, 0], Answered), (1, Some(Change::Well)), "any success counts");
        assert_eq!(table.first(), 1);
    }

    #[test]
    fn failing_as_the_last_resort_makes_no_pause_longer() {
        let mut table = Table { memory: Memory::new(1, LOOK), now: Instant::now() };
        table.goes(&[], Unreachable);
        for _ in 0..10 {
            assert_eq!(table.goes(&[], Unreachable), (0, None));
        }
        assert!(table.turn(&[]).last_resort);
        assert!(!table.after(990).turn(&[]).last_resort, "its pause is over after a second all the same");
    }
}
