//! Tells people when WeChat does not respond to what was sent, and when it does again: seldom, however many calls that is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Fault, Heard};

/// A warning of the same host comes again after this at the earliest.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// The lost responses of all hosts.
#[derive(Default)]
pub(super) struct Hangs {
    /// Spares calls the lock while every response comes.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since the last line.
    lost: u64,
    warned: Option<Instant>,
    /// Whether the last line was a warning.
    is_warned: bool,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Lost { lost: u64 },
    RespondsAgain,
}

impl Hangs {
    /// Takes in what came of a call to this host.
    pub(super) fn learn(&self, host: &str, heard: &Result<Heard, Fault>, now: Instant) {
        let is_lost = match heard {
            Err(Fault::Unheard(_)) | Ok(Heard { cut: Some(Fault::Unheard(_)), .. }) => true,
            Err(Fault::Unreachable(_)) => return,
            _ => false,
        };
        if !is_lost && !self.any.load(Ordering::Relaxed) {
            return;
        }
        match (self.note(is_lost, now), heard) {
            (Some(Line::Lost { lost }), Err(fault) | Ok(Heard { cut: Some(fault), .. })) => {
                warn!(
                    host,
                    lost,
                    fault = fault.in_words(),
                    "responses of WeChat's are lost: logins are asked again within login.patience_s, and end as in_doubt if it does not respond by then"
                );
            }
            (Some(Line::RespondsAgain), _) => info!(host, "WeChat responds again"),
            _ => {}
        }
    }

    fn note(&self, is_lost: bool, now: Instant) -> Option<Line> {
        let mut state = self.state.lock().expect("nothing panics while holding it");
        if !is_lost {
            self.any.store(false, Ordering::Relaxed);
            return std::mem::take(&mut state.is_warned).then_some(Line::RespondsAgain);
        }
        self.any.store(true, Ordering::Relaxed);
        state.lost += 1;
        if state.warned.is_some_and(|at| now < at + WARN_EVERY) {
            return None;
        }
        (state.warned, state.is_warned) = (Some(now), true);
        Some(Line::Lost { lost: std::mem::take(&mut state.lost) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_responses_are_told_of_twice_a_minute_and_their_end_once() {
        let (hangs, start) = (Hangs::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(hangs.note(true, at(0)), Some(Line::Lost { lost: 1 }));
        for s in 1..30 {
            assert_eq!(hangs.note(true, at(s)), None);
        }
        assert_eq!(hangs.note(true, at(30)), Some(Line::Lost { lost: 30 }));
        assert_eq!(hangs.note(false, at(31)), Some(Line::RespondsAgain));
        assert_eq!(hangs.note(false, at(32)), None);
        assert_eq!((hangs.note(true, at(33)), hangs.note(false, at(34))), (None, None), "both lines are rare");
        assert_eq!(hangs.note(true, at(60)), Some(Line::Lost { lost: 2 }));
    }
}
