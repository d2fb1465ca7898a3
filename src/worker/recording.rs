//! From conclusion to result: written whatever it takes, told once.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use tracing::{debug, error, info};

use crate::clock;
use crate::login::{AppId, LoginRequest, LoginResult, Outcome, RequestId};
use crate::queue::{HeldResult, Settlement};
use crate::stop_point::StopPoint;
use crate::store::{Claimed, FinishedResult, Recorded};
use crate::worker::outbox::MAX_RESULT_BYTES;
use crate::worker::walk::Walk;
use crate::worker::{WORN_OUT, Worker, store_away};

/// So long after the hard stop the store alone is tried: it is there, as a rule, and takes a moment.
const FOR_THE_STORE: Duration = Duration::from_millis(250);

impl Walk<'_> {
    /// Writes the login's outcome, and says what is to become of its delivery.
    pub(super) async fn finish(&self, claimed: &Claimed, outcome: Outcome) -> Settlement {
        let result = self.result(outcome);
        let recorded = self.record(&result, claimed).await;
        match recorded {
            Recorded::Written => self.tell(&result),
            Recorded::Kept | Recorded::NotMine => debug!(request_id = %self.login.id, "concluded by somebody else"),
        }
        StopPoint::Recorded.reached();
        match recorded {
            Recorded::Written if self.login.request.is_ok() && self.is_worn_out(claimed) => {
                Settlement::Dead { reason: WORN_OUT }
            }
            _ => Settlement::Ack,
        }
    }

    pub(super) fn result(&self, outcome: Outcome) -> LoginResult {
        LoginResult {
            request_id: self.login.id.clone(),
            appid: self.login.request.as_ref().ok().and_then(|request| self.appid(request)),
            outcome,
            attempts: self.history.asked,
            finished_at: clock::now_ms(),
            simulated: self.worker.0.simulated,
        }
    }

    fn appid(&self, request: &LoginRequest) -> Option<AppId> {
        request.appid.clone().or_else(|| Some(self.worker.0.tokens.app(None)?.appid().clone()))
    }

    /// Writes the result, however long that takes: an answer of WeChat's cannot be had again. A worker that has to stop
    /// meanwhile hands it over; where it cannot do that either, it tries to write it as long as it is there.
    async fn record(&self, result: &LoginResult, claimed: &Claimed) -> Recorded {
        let finished = self.worker.finished(result);
        let held = Held(result);
        let handing_over = async {
            self.hard.cancelled().await;
            sleep(FOR_THE_STORE).await;
            Box::pin(self.worker.hand_over(result, claimed, finished.json.clone())).await
        };
        let recorded = tokio::select! {
            biased;
            recorded = self.worker.write(&result.request_id, claimed, &finished) => recorded,
            Some(recorded) = handing_over => recorded,
        };
        std::mem::forget(held);
        recorded
    }

    /// Keeps in mind that the result is written, counts it, and logs it.
    pub(super) fn tell(&self, result: &LoginResult) {
        self.worker.0.recent.remember(&result.request_id);
        self.worker.0.meters.concluded(result.outcome.as_str());
        let failure = match &result.outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Succeeded(_) => None,
        };
        let answer = failure.and_then(|failure| failure.answer.as_ref());
        // A request that cannot be served has no appid in its result; it is of the only app all the same.
        let only_app = failure.and_then(|_| self.worker.0.tokens.app(None));
        let appid = result.appid.as_ref().or_else(|| Some(only_app.as_ref()?.appid()));
        info!(
            request_id = %result.request_id,
            appid = appid.map(tracing::field::display),
            outcome = result.outcome.as_str(),
            reason = failure.map(|failure| failure.reason.as_str()),
            advice = failure.map(|failure| failure.advice.as_str()),
            detail = failure.and_then(|failure| failure.detail.as_deref()),
            attempts = result.attempts,
            in_hand_ms = self.login.since.elapsed().as_millis() as u64,
            errcode = answer.map(|answer| answer.errcode),
            rid = answer.and_then(|answer| answer.rid.as_deref()),
            redelivered = self.delivery.redelivered.then_some(true),
            trace_id = self.delivery.traceparent.as_ref().map(|trace| trace.trace_id()),
            "login concluded"
        );
    }
}

impl Worker {
    /// The result as it is written.
    pub(super) fn finished(&self, result: &LoginResult) -> FinishedResult {
        FinishedResult {
            json: Bytes::from(result.to_json(self.0.sealing.as_deref())),
            succeeded: matches!(result.outcome, Outcome::Succeeded(_)),
            ttl: self.0.limits.result_ttl,
        }
    }

    async fn write(&self, id: &RequestId, claimed: &Claimed, finished: &FinishedResult) -> Recorded {
        let mut failures = 0;
        loop {
            match self.0.store.record(id, claimed, finished).await {
                // After a try whose answer was lost, what is there already is our own.
                Ok(Recorded::Kept) if failures > 0 => return Recorded::Written,
                Ok(recorded) => return recorded,
                Err(fault) => store_away(id, &fault, &mut failures).await,
            }
        }
    }

    /// Leaves a result to whichever worker can write it.
    async fn hand_over(&self, result: &LoginResult, claimed: &Claimed, json: Bytes) -> Option<Recorded> {
        let (id, owner) = (&result.request_id, claimed.owner().to_owned());
        let key = match self.outbox_key(result.appid.as_ref()) {
            Ok(_) if json.len() > MAX_RESULT_BYTES => {
                error!(request_id = %id, bytes = json.len(), "a result is too long to be handed over");
                return None;
            }
            Ok(key) => key,
            Err(why) => {
                error!(request_id = %id, %why, "a result could not be handed over");
                return None;
            }
        };
        let mac = key.sign(id, &owner, &json);
        let held = HeldResult { request_id: id.clone(), owner, mac, json };
        match self.0.queue.hand_over(&held).await {
            Ok(()) => {
                info!(request_id = %id, "stopped before the result could be written; it was handed over");
                Some(Recorded::Written)
            }
            Err(fault) => {
                error!(request_id = %id, %fault, "a result could not be handed over");
                None
            }
        }
    }
}

/// An answer that is not yet written. Dropped only when the worker is stopped hard, and that is worth a line.
struct Held<'a>(&'a LoginResult);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        error!(
            request_id = %self.0.request_id,
            outcome = self.0.outcome.as_str(),
            "stopped before the result could be written"
        );
    }
}
