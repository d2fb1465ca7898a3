//! A breaker: after a fault that asking again at once would not end, everybody is told of it at once, and one probe at a
//! time finds out whether it is over.
//!
//! It knows no WeChat and no clock: what trips it, and for how long, is its caller's business.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// Closed, or open since a fault.
#[derive(Debug)]
pub struct Breaker<F>(Mutex<Option<Open<F>>>);

#[derive(Debug)]
struct Open<F> {
    fault: F,
    /// How often in a row it was tripped.
    times: u32,
    /// From then on a probe may go.
    until: Instant,
    probing: bool,
}

/// Whether to go on.
#[derive(Debug)]
pub enum Permit<'a, F> {
    /// Nothing stands against it.
    Go,
    /// As the one that finds out whether it is over. Others are stopped until this is dropped.
    Probe(Probe<'a, F>),
    /// Not now.
    Stopped {
        /// Why.
        fault: F,
        /// When a probe may go, at the earliest; nothing while one is under way.
        left: Duration,
    },
}

/// The right to probe. Dropped without a word, it leaves the right to the next.
#[derive(Debug)]
pub struct Probe<'a, F>(&'a Breaker<F>);

impl<F: Clone> Breaker<F> {
    /// Whether to go on at `now`; takes the right to probe, where there is one.
    pub fn permit(&self, now: Instant) -> Permit<'_, F> {
        match &mut *self.state() {
            None => Permit::Go,
            Some(open) if !open.probing && open.until <= now => {
                open.probing = true;
                Permit::Probe(Probe(self))
            }
            Some(open) => {
                Permit::Stopped { fault: open.fault.clone(), left: open.until.saturating_duration_since(now) }
            }
        }
    }

    /// Why nobody goes on at `now`, if so; takes no right to probe.
    pub fn stopped(&self, now: Instant) -> Option<F> {
        self.state().as_ref().filter(|open| open.probing || open.until > now).map(|open| open.fault.clone())
    }

    /// The same, unless somebody is just finding out whether it is over: what was so is no news then.
    pub fn rests(&self, now: Instant) -> Option<F> {
        self.state().as_ref().filter(|open| !open.probing && open.until > now).map(|open| open.fault.clone())
    }

    /// The fault that it is open for, also while a probe may go.
    pub fn fault(&self) -> Option<F> {
        self.state().as_ref().map(|open| open.fault.clone())
    }

    /// Why it is open, and how long it is at `now` until a probe may go.
    pub fn open(&self, now: Instant) -> Option<(F, Duration)> {
        self.state().as_ref().map(|open| (open.fault.clone(), open.until.saturating_duration_since(now)))
    }

    /// How often in a row it was tripped.
    pub fn times(&self) -> u32 {
        self.state().as_ref().map_or(0, |open| open.times)
    }

    /// Opens it, for the `times`-th time in a row, until then. Ends a probe.
    pub fn trip(&self, fault: F, times: u32, until: Instant) {
        *self.state() = Some(Open { fault, times, until, probing: false });
    }

    /// Closes it. Says whether it was open.
    pub fn close(&self) -> bool {
        self.state().take().is_some()
    }
}

impl<F> Breaker<F> {
    fn state(&self) -> MutexGuard<'_, Option<Open<F>>> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

impl<F> Drop for Probe<'_, F> {
    fn drop(&mut self) {
        if let Some(open) = &mut *self.0.state() {
            open.probing = false;
        }
    }
}

impl<F> Default for Breaker<F> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    fn stopped(permit: &Permit<'_, &'static str>) -> Option<(&'static str, Duration)> {
        match permit {
            Permit::Stopped { fault, left } => Some((fault, *left)),
            Permit::Go | Permit::Probe(_) => None,
        }
    }

    #[test]
    fn all_are_stopped_until_one_may_probe() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert!(matches!(breaker.permit(start), Permit::Go));
        breaker.trip("frozen", 1, start + PAUSE);
        assert_eq!(stopped(&breaker.permit(start)), Some(("frozen", PAUSE)));
        assert_eq!(breaker.rests(start), Some("frozen"));
        let later = start + PAUSE;
        assert_eq!((breaker.stopped(later), breaker.fault()), (None, Some("frozen")), "a probe may go");
        let probe = breaker.permit(later);
        assert!(matches!(probe, Permit::Probe(_)));
        assert_eq!(stopped(&breaker.permit(later)), Some(("frozen", Duration::ZERO)), "one at a time");
        assert_eq!((breaker.stopped(later), breaker.rests(later)), (Some("frozen"), None), "it may be over");
        drop(probe);
        assert!(matches!(breaker.permit(later), Permit::Probe(_)), "one that came to nothing leaves it to the next");
    }

    #[test]
    fn a_probe_that_fails_stops_all_again_and_one_that_works_lets_all_go() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.trip("frozen", 1, start);
        {
            let _probe = breaker.permit(start);
            breaker.trip("frozen", breaker.times() + 1, start + PAUSE);
        }
        assert_eq!((breaker.times(), breaker.stopped(start)), (2, Some("frozen")));
        {
            let _probe = breaker.permit(start + PAUSE);
            assert!(breaker.close());
        }
        assert!(matches!(breaker.permit(start), Permit::Go));
        assert_eq!((breaker.times(), breaker.close()), (0, false));
    }
}
