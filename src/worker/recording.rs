//! From conclusion to result: written whatever it takes, told once.

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::clock;
use crate::login::{LoginRequest, LoginResult, Outcome, RequestId};
use crate::queue::{Delivery, HeldResult, Settlement};
use crate::stop_point::StopPoint;
use crate::store::{Claimed, FinishedResult, Recorded};
use crate::worker::arriving::Login;
use crate::worker::{WORN_OUT, Worker, store_away};

impl Worker {
    /// Writes a login's outcome, and says what is to become of its delivery.
    pub(super) async fn finish(
        &self,
        delivery: &Delivery,
        login: &Login,
        claimed: &Claimed,
        outcome: Outcome,
        attempts: u32,
        hard: &CancellationToken,
    ) -> Settlement {
        let request = login.request.as_ref().ok();
        let result = self.result(&login.id, request, outcome, attempts);
        let Some(recorded) = self.record(&result, claimed, hard).await else { return Settlement::Requeue };
        match recorded {
            Recorded::Written => self.log(&result, delivery, login.since),
            Recorded::Kept | Recorded::NotMine => debug!(request_id = %login.id, "concluded by somebody else"),
        }
        StopPoint::Recorded.reached();
        match recorded {
            Recorded::Written if request.is_some() && Self::is_worn_out(delivery, claimed) => {
                Settlement::Dead { reason: WORN_OUT }
            }
            _ => Settlement::Ack,
        }
    }

    pub(super) fn result(
        &self,
        id: &RequestId,
        request: Option<&LoginRequest>,
        outcome: Outcome,
        attempts: u32,
    ) -> LoginResult {
        let named = request.and_then(|request| request.appid.clone());
        LoginResult {
            request_id: id.clone(),
            appid: named
                .or_else(|| self.0.tokens.app(None).filter(|_| request.is_some()).map(|app| app.appid().clone())),
            outcome,
            attempts,
            finished_at: clock::now_ms(),
            simulated: self.0.simulated,
        }
    }

    /// Writes the result, however long that takes: an answer of WeChat's cannot be had again. A worker that has to stop
    /// meanwhile hands it over. None: it could not do that either.
    async fn record(&self, result: &LoginResult, claimed: &Claimed, hard: &CancellationToken) -> Option<Recorded> {
        let finished = FinishedResult {
            json: Bytes::from(result.to_json(self.0.sealing.as_deref())),
            succeeded: matches!(result.outcome, Outcome::Succeeded(_)),
            ttl: self.0.limits.result_ttl,
        };
        let held = Held(result);
        let recorded = tokio::select! {
            biased;
            recorded = self.write(&result.request_id, claimed, &finished) => recorded,
            () = hard.cancelled() => self.hand_over(&result.request_id, claimed, finished.json.clone()).await?,
        };
        std::mem::forget(held);
        Some(recorded)
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
    async fn hand_over(&self, id: &RequestId, claimed: &Claimed, json: Bytes) -> Option<Recorded> {
        let held = HeldResult { request_id: id.clone(), owner: claimed.owner().to_owned(), json };
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

    pub(super) fn log(&self, result: &LoginResult, delivery: &Delivery, began: Instant) {
        self.0.meters.concluded(result.outcome.as_str());
        let answer = match &result.outcome {
            Outcome::Failed(failure) => failure.answer.as_ref(),
            Outcome::Succeeded(_) => None,
        };
        info!(
            request_id = %result.request_id,
            appid = result.appid.as_ref().map(tracing::field::display),
            outcome = result.outcome.as_str(),
            attempts = result.attempts,
            in_hand_ms = began.elapsed().as_millis() as u64,
            errcode = answer.map(|answer| answer.errcode),
            rid = answer.and_then(|answer| answer.rid.as_deref()),
            redelivered = delivery.redelivered.then_some(true),
            trace_id = delivery.traceparent.as_ref().map(|trace| trace.trace_id()),
            "login concluded"
        );
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
