//! Logins that are answered without asking WeChat. They need no slot and, if nobody has claimed them before, one round
//! trip: so a backlog of those whose time is up is soon out of the way of those that can still be served.

use tracing::debug;

use crate::clock;
use crate::login::{Failure, LoginRequest, Outcome, Reason};
use crate::queue::Settlement;
use crate::store::Unclaimed;
use crate::verdict;
use crate::worker::arriving::Turn;
use crate::worker::store_away;
use crate::worker::walk::Walk;

/// What a declined login's result says.
const SHARE_TAKEN: &str = "the app's share of this worker is taken by logins that wait for WeChat";
/// What the result of a login says that is concluded before its time is up.
const TOO_LITTLE_TIME: &str = "less time was left than a call takes at the moment, and others wait that have more";
/// What the result of one that is worn out says.
const ENDED_TOO_OFTEN: &str = "workers ended too often while they had it in hand; it is not asked any more";

/// Why a login is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unasked {
    /// It is no request that could be served.
    Unservable,
    /// There is no time for it.
    TooLate,
    /// It may be what ends its workers, and may not come again.
    WornOut,
    /// For the sake of other apps: its own is slow, and has what it may have of slots and room.
    Declined,
}

impl Walk<'_> {
    /// Writes the outcome, if nobody has ever claimed the login; else it walks like others, since whoever did may be
    /// asking, or have missed an answer.
    pub(super) async fn conclude_unasked(&mut self, why: Unasked) -> Settlement {
        let (store, id) = (&self.worker.0.store, &self.login.id);
        let result = self.result(self.unasked_outcome(why));
        let failure = self.worker.finished(&result);
        let mut failures = 0;
        loop {
            match store.record_unclaimed(id, &failure).await {
                Ok(Unclaimed::Written) => self.tell(&result),
                // After a try whose answer was lost, what is there already is our own.
                Ok(Unclaimed::Recorded) if failures > 0 => self.tell(&result),
                Ok(Unclaimed::Recorded) => debug!(request_id = %id, "concluded by somebody else"),
                Ok(Unclaimed::Claimed) => return Box::pin(self.go_on(&Turn::Unasked(why))).await,
                Err(fault) => {
                    store_away(id, &fault, &mut failures).await;
                    continue;
                }
            }
            return Settlement::Ack;
        }
    }

    /// The outcome of a login that is not asked. An earlier worker may have asked for it, and missed the answer.
    pub(super) fn unasked_outcome(&self, why: Unasked) -> Outcome {
        let request = match &self.login.request {
            Ok(request) => request,
            Err(problem) => return failed(Reason::InvalidRequest, problem),
        };
        let now_ms = clock::now_ms();
        let time_up_ms = self.worker.time_up_at(request, now_ms);
        let too_old = now_ms >= time_up_ms;
        let time_up = || verdict::time_up_since(&self.history, time_up_ms, now_ms);
        let (failure, detail) = match why {
            Unasked::Unservable => return no_such_app(request),
            // It counts as expired a moment before it is.
            Unasked::TooLate if too_old => (time_up(), None),
            Unasked::TooLate => (verdict::time_up(&self.history, true), Some(TOO_LITTLE_TIME)),
            Unasked::WornOut => (time_up(), Some(ENDED_TOO_OFTEN)),
            Unasked::Declined => (time_up(), (!too_old).then_some(SHARE_TAKEN)),
        };
        match detail {
            Some(detail) => Outcome::Failed(Failure { detail: Some(detail.to_owned()), ..failure }),
            None => Outcome::Failed(failure),
        }
    }
}

/// The outcome of a login for an app that is not configured.
pub(super) fn no_such_app(request: &LoginRequest) -> Outcome {
    match request.appid {
        Some(_) => failed(Reason::UnknownApp, "no such app is configured"),
        None => failed(Reason::InvalidRequest, "appid is missing, and several apps are configured"),
    }
}

/// A failure that needs words.
pub(super) fn failed(reason: Reason, detail: &str) -> Outcome {
    Outcome::Failed(Failure { detail: Some(detail.to_owned()), ..Failure::new(reason) })
}
