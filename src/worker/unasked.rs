//! Logins that are answered without asking WeChat. They need no slot and, if nobody has claimed them before, one round
//! trip: so a backlog of those whose time is up is soon out of the way of those that can still be served.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock;
use crate::login::{Failure, LoginRequest, Outcome, Reason};
use crate::queue::{Delivery, Settlement};
use crate::store::{FinishedResult, Unclaimed};
use crate::verdict::{self, History};
use crate::worker::arriving::{Login, Turn};
use crate::worker::panicked::Walked;
use crate::worker::{Worker, store_away, unasked};

/// What a declined login's result says.
const SHARE_TAKEN: &str = "the app's share of this worker is taken by logins that wait for WeChat";

/// What the result of a login says that is concluded before its time is up.
const TOO_LITTLE_TIME: &str = "less time was left than a call takes at the moment, and others wait that have more";

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

impl Worker {
    /// The outcome of a login that is not asked. An earlier worker may have asked for it, and missed the answer.
    pub(super) fn unasked_outcome(&self, why: Unasked, login: &Login, history: &History) -> Outcome {
        match (&login.request, why) {
            (Err(problem), _) => unasked(Reason::InvalidRequest, problem),
            (Ok(request), Unasked::Unservable) => no_such_app(request),
            (Ok(request), Unasked::TooLate) => self.too_late_outcome(request, history),
            (Ok(request), Unasked::WornOut) => self.give_up(request, history),
            (Ok(request), Unasked::Declined) => self.declined_outcome(request, history),
        }
    }

    /// It counts as expired a moment before it is.
    fn too_late_outcome(&self, request: &LoginRequest, history: &History) -> Outcome {
        let in_time = clock::now_ms() < self.time_up_at(request);
        match verdict::time_up(history, true) {
            Outcome::Failed(failure) if in_time => {
                Outcome::Failed(Failure { detail: Some(TOO_LITTLE_TIME.to_owned()), ..failure })
            }
            outcome => outcome,
        }
    }

    fn declined_outcome(&self, request: &LoginRequest, history: &History) -> Outcome {
        let too_old = clock::now_ms() >= self.time_up_at(request);
        match verdict::time_up(history, too_old) {
            Outcome::Failed(failure) if !too_old => {
                Outcome::Failed(Failure { detail: Some(SHARE_TAKEN.to_owned()), ..failure })
            }
            outcome => outcome,
        }
    }

    /// Writes the outcome, if nobody has ever claimed the login; else it walks like others, since whoever did may be
    /// asking, or have missed an answer.
    pub(super) async fn conclude_unasked(
        &self,
        delivery: &Delivery,
        login: &Login,
        why: Unasked,
        walked: &mut Walked,
        hard: &CancellationToken,
    ) -> Settlement {
        let outcome = self.unasked_outcome(why, login, &History::default());
        let result = self.result(&login.id, login.request.as_ref().ok(), outcome, 0);
        let json = Bytes::from(result.to_json(self.0.sealing.as_deref()));
        let failure = FinishedResult { json, succeeded: false, ttl: self.0.limits.result_ttl };
        let mut failures = 0;
        loop {
            match self.0.store.record_unclaimed(&login.id, &failure).await {
                Ok(Unclaimed::Written) => self.log(&result, delivery, login.since),
                // After a try whose answer was lost, what is there already is our own.
                Ok(Unclaimed::Recorded) if failures > 0 => self.log(&result, delivery, login.since),
                Ok(Unclaimed::Recorded) => debug!(request_id = %login.id, "concluded by somebody else"),
                Ok(Unclaimed::Claimed) => {
                    return Box::pin(self.walk(delivery, login, &Turn::Unasked(why), walked, hard)).await;
                }
                Err(fault) => {
                    store_away(&login.id, &fault, &mut failures).await;
                    continue;
                }
            }
            return Settlement::Ack;
        }
    }
}

/// The outcome of a login for an app that is not configured.
pub(super) fn no_such_app(request: &LoginRequest) -> Outcome {
    match request.appid {
        Some(_) => unasked(Reason::UnknownApp, "no such app is configured"),
        None => unasked(Reason::InvalidRequest, "appid is missing, and several apps are configured"),
    }
}
