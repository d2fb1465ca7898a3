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
    /// It was not asked, for want of something on this machine.
    Nothing,
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
mod tests;
