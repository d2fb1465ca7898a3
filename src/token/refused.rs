//! A token that WeChat refused: whether that may be a flicker, so that a login is asked again with the same token, or
//! whether the token is to be given up. No clock and no I/O.
//!
//! WeChat answers 40001 now and then for the newest token there is, and takes it a moment later. So a login is asked again
//! with it a few times, after pauses, before the fleet is told that the token is refused; and for as long as other logins
//! are served with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::wechat::AccessToken;

/// A token that another login was served with so short a time ago is good.
const SERVED_LATELY: Duration = Duration::from_secs(10);
/// After the fleet was told that a token is refused, no login is asked again with it for this long.
const GIVEN_UP_FOR: Duration = Duration::from_secs(60);

/// The token that WeChat refused last.
#[derive(Default)]
pub(super) struct RefusedToken {
    /// Spares logins the lock while no token was refused.
    is_there: AtomicBool,
    state: Mutex<Option<State>>,
}

struct State {
    token: AccessToken,
    /// When WeChat, asked for another, last gave the same one.
    given_again: Option<Instant>,
    /// When WeChat last took it.
    served: Option<Instant>,
    /// When the fleet was last told that it is refused.
    given_up: Option<Instant>,
}

impl RefusedToken {
    /// Notes that WeChat has refused a token. Returns whether a login may be asked again with the same one: if the login
    /// has tries left, or if others are served with it.
    pub(super) fn note(&self, token: &AccessToken, has_tries_left: bool, now: Instant) -> bool {
        self.is_there.store(true, Ordering::Relaxed);
        let mut state = self.state();
        if state.as_ref().is_none_or(|state| state.token != *token) {
            *state = Some(State { token: token.clone(), given_again: None, served: None, given_up: None });
        }
        let within = |at: Option<Instant>, time| at.is_some_and(|at| now < at + time);
        state.as_ref().is_some_and(|state| {
            !within(state.given_up, GIVEN_UP_FOR) && (has_tries_left || within(state.served, SERVED_LATELY))
        })
    }

    /// Whether WeChat gave this token again less than so long ago, so that it need not be asked for another.
    pub(super) fn was_given_again(&self, token: &AccessToken, now: Instant, holds_for: Duration) -> bool {
        let state = self.state();
        let state = state.as_ref().filter(|state| state.token == *token);
        state.and_then(|state| state.given_again).is_some_and(|at| now < at + holds_for)
    }

    /// WeChat, asked for another token, gave this one again.
    pub(super) fn give_again(&self, token: &AccessToken, now: Instant) {
        self.change(token, |state| state.given_again = Some(now));
    }

    /// The fleet is told that this token is refused.
    pub(super) fn give_up(&self, now: Instant) {
        if let Some(state) = &mut *self.state() {
            state.given_up = Some(now);
        }
    }

    /// Whether WeChat has refused any token yet.
    pub(super) fn is_any(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// WeChat has taken this token. Returns whether it was given up.
    pub(super) fn serve(&self, token: &AccessToken, now: Instant) -> bool {
        let mut was_given_up = false;
        self.change(token, |state| {
            state.served = Some(now);
            was_given_up = state.given_up.take().is_some();
        });
        was_given_up
    }

    fn change(&self, token: &AccessToken, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.state().as_mut().filter(|state| state.token == *token) {
            change(state);
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().expect("nothing panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_tried_again_until_it_is_given_up_or_serves_others() {
        let (refused, start) = (RefusedToken::default(), Instant::now());
        let (token, other) = (AccessToken::from("one".to_owned()), AccessToken::from("other".to_owned()));
        assert!(!refused.serve(&token, start), "nothing was refused");
        assert!(refused.note(&token, true, start));
        assert!(!refused.note(&token, false, start), "no tries left");
        refused.serve(&token, start);
        assert!(refused.note(&token, false, start), "others are served with it");
        assert!(!refused.note(&token, false, start + SERVED_LATELY));
        refused.give_up(start);
        assert!(!refused.note(&token, true, start));
        assert!(refused.note(&token, true, start + GIVEN_UP_FOR));
        assert!(refused.serve(&token, start), "it was given up");
        assert!(refused.note(&token, true, start));
        refused.give_up(start);
        assert!(refused.note(&other, true, start), "another token");
    }

    #[test]
    fn a_token_that_was_given_again_need_not_be_asked_for_at_once() {
        let (refused, start) = (RefusedToken::default(), Instant::now());
        let token = AccessToken::from("one".to_owned());
        let second = Duration::from_secs(1);
        refused.note(&token, true, start);
        assert!(!refused.was_given_again(&token, start, second));
        refused.give_again(&token, start);
        assert!(refused.was_given_again(&token, start, second));
        assert!(!refused.was_given_again(&token, start + second, second));
        assert!(!refused.was_given_again(&AccessToken::from("other".to_owned()), start, second));
    }
}
