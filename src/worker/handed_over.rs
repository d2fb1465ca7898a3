//! The result outbox, read: results that other workers could not write before they stopped.
//!
//! The queue is open to whoever may publish to it, so a result is written only if a worker has authenticated it
//! (`outbox`), it is of the form that this worker would write, and its time is not over. What fails becomes a dead letter.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::clock;
use crate::fault_log::FaultLog;
use crate::login::{RequestId, ResultBody, Status, UnixMs};
use crate::queue::{Consumer, Delivery, HeldResult, Proof, Settlement};
use crate::store::{Claimed, FinishedResult, Recorded};
use crate::worker::outbox::{MAX_RESULT_BYTES, NoKey};
use crate::worker::{Stop, Worker};

/// Pauses while the store is away.
const STORE_AWAY: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
/// Pause before a result goes back to the end of the queue that this worker has no key for: another worker may have it, or
/// the file of the AppSecret comes back.
const KEY_AWAY: Duration = Duration::from_millis(100);
/// The last acks have so long to leave.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
/// How far the clock of the worker that finished a result may be ahead of ours.
const CLOCKS_DIFFER: UnixMs = 60_000;

const TOO_LONG: &str = "the result is longer than 8 KiB";
const NOT_A_RESULT: &str = "not a result";
const UNAUTHENTICATED: &str = "the result is not authenticated";
const NO_APP: &str = "there is no key for a result without an app";
const WRONG_MAC: &str = "the result was changed, or authenticated with another key";
const TOO_OLD: &str = "the result is older than result.ttl_s";
const IN_FUTURE: &str = "the result is from the future";
const PLAIN: &str = "the phone number is not encrypted, and result.encryption is on";
const ENCRYPTED: &str = "the phone number is encrypted, and result.encryption is off";

/// A result that a worker has authenticated.
struct Authentic {
    request_id: RequestId,
    claimed: Claimed,
    succeeded: bool,
    finished_at: UnixMs,
}

/// Why a result is not written.
enum Refused {
    /// It never will be.
    ForGood(&'static str),
    /// It cannot be judged at the moment.
    Undecided(NoKey),
}

/// Writes what was handed over, one after the other, until the soft stop.
pub async fn record_handed_over(worker: Worker, mut consumer: Consumer, stop: &Stop) {
    let warnings = FaultLog::default();
    while let Some(mut delivery) = consumer.next().await {
        let writing = worker.write_for_another(&delivery, &warnings);
        let settlement = stop.soft.run_until_cancelled(writing).await.unwrap_or(Settlement::Requeue);
        if let Settlement::Dead { reason } = settlement {
            warn_of_refused(&warnings, &delivery, reason);
            worker.0.meters.dead_letter();
            delivery.body = without_phone_number(&delivery.body);
        }
        delivery.settle(settlement).await;
    }
    consumer.give_back();
    consumer.close(CLOSE_WITHIN).await;
}

impl Worker {
    async fn write_for_another(&self, delivery: &Delivery, warnings: &FaultLog) -> Settlement {
        let Authentic { request_id, claimed, succeeded, finished_at } = match self.authentic(delivery) {
            Ok(authentic) => authentic,
            Err(Refused::ForGood(reason)) => return Settlement::Dead { reason },
            Err(Refused::Undecided(why)) => {
                if let Some(suppressed) = warnings.failed(&why.to_string()) {
                    warn!(%why, suppressed, "a result that was handed over waits for its key, for result.ttl_s at most");
                }
                return self.put_off(delivery).await;
            }
        };
        let json = Bytes::copy_from_slice(&delivery.body);
        let mut failures = 0;
        loop {
            // Again each time: the store may have been away for longer than a result may live.
            let ttl = match self.ttl_left(finished_at) {
                Ok(ttl) => ttl,
                Err(reason) => return Settlement::Dead { reason },
            };
            let finished = FinishedResult { json: json.clone(), succeeded, ttl };
            match self.0.store.record(&request_id, &claimed, &finished).await {
                Ok(Recorded::Written) => info!(%request_id, "a result that was handed over is written"),
                Ok(Recorded::Kept | Recorded::NotMine) => info!(%request_id, "a result that was handed over came late"),
                Err(_) => {
                    sleep(STORE_AWAY.pause(failures, fastrand::f64())).await;
                    failures += 1;
                    continue;
                }
            }
            return Settlement::Ack;
        }
    }

    /// To the end of the queue: RabbitMQ would deliver one that is requeued before all others, which could then not be
    /// written.
    async fn put_off(&self, delivery: &Delivery) -> Settlement {
        sleep(KEY_AWAY).await;
        let body: Option<ResultBody> = serde_json::from_slice(&delivery.body).ok();
        let (Some(body), Some(proof)) = (body, delivery.proof.as_deref()) else { return Settlement::Requeue };
        let Proof { owner, mac } = proof.clone();
        let json = Bytes::copy_from_slice(&delivery.body);
        let held = HeldResult { request_id: body.request_id, owner, mac, json };
        if self.0.queue.hand_over(&held).await.is_ok() { Settlement::Ack } else { Settlement::Requeue }
    }

    /// Everything that is asked of a result before it is written. Cheap checks first; nothing of a result that is not
    /// authenticated has any effect.
    fn authentic(&self, delivery: &Delivery) -> Result<Authentic, Refused> {
        let json = &delivery.body;
        if json.len() > MAX_RESULT_BYTES {
            return Err(Refused::ForGood(TOO_LONG));
        }
        let body: ResultBody = serde_json::from_slice(json).map_err(|_| Refused::ForGood(NOT_A_RESULT))?;
        let proof = delivery.proof.as_ref().ok_or(Refused::ForGood(UNAUTHENTICATED))?;
        self.ttl_left(body.finished_at).map_err(Refused::ForGood)?;
        let key = self.outbox_key(body.appid.as_ref()).map_err(|why| match (&why, &body.appid) {
            (NoKey::None, None) => Refused::ForGood(NO_APP),
            // Another worker may serve the app.
            _ => Refused::Undecided(why),
        })?;
        if proof.owner.is_empty() || !key.verifies(&proof.mac, &body.request_id, &proof.owner, json) {
            return Err(Refused::ForGood(WRONG_MAC));
        }
        self.check_form(&body).map_err(Refused::ForGood)?;
        Ok(Authentic {
            request_id: body.request_id,
            claimed: Claimed::formerly_of(proof.owner.clone()),
            succeeded: body.status == Status::Succeeded,
            finished_at: body.finished_at,
        })
    }

    /// How long a result may still stay in the store. A message that is published again brings no result back that is over.
    fn ttl_left(&self, finished_at: UnixMs) -> Result<Duration, &'static str> {
        let now_ms = clock::now_ms();
        if finished_at > now_ms + CLOCKS_DIFFER {
            return Err(IN_FUTURE);
        }
        let age = Duration::from_millis(now_ms.saturating_sub(finished_at));
        self.0.limits.result_ttl.checked_sub(age).filter(|left| !left.is_zero()).ok_or(TOO_OLD)
    }

    /// A phone number or an error, and the number encrypted if and only if this worker encrypts.
    fn check_form(&self, body: &ResultBody) -> Result<(), &'static str> {
        let encrypts = self.0.sealing.is_some();
        match (body.status, &body.phone_info, &body.phone_info_jwe, &body.error) {
            (Status::Succeeded, Some(_), None, None) if encrypts => Err(PLAIN),
            (Status::Succeeded, None, Some(_), None) if !encrypts => Err(ENCRYPTED),
            (Status::Succeeded, Some(_), None, None)
            | (Status::Succeeded, None, Some(_), None)
            | (Status::Failed, None, None, Some(_)) => Ok(()),
            _ => Err(NOT_A_RESULT),
        }
    }
}

/// What the dead letter of a refused result says: whose it is, and nothing of a phone number.
fn without_phone_number(json: &[u8]) -> Vec<u8> {
    let body = (json.len() <= MAX_RESULT_BYTES).then(|| serde_json::from_slice::<ResultBody>(json).ok());
    let kept = match body.flatten() {
        Some(ResultBody { request_id, status, appid, finished_at, .. }) => {
            json!({"request_id": request_id, "status": status, "appid": appid, "finished_at": finished_at})
        }
        None => json!({"bytes": json.len()}),
    };
    kept.to_string().into_bytes()
}

fn warn_of_refused(warnings: &FaultLog, delivery: &Delivery, reason: &str) {
    if let Some(suppressed) = warnings.failed(reason) {
        let bytes = delivery.body.len();
        warn!(
            reason,
            bytes,
            suppressed,
            "a result in the outbox is refused and is a dead letter now; docs/security.md says who may publish to it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_of_a_refused_result_has_no_phone_number() {
        let plain = r#"{"request_id":"r-1","status":"succeeded","attempts":1,"finished_at":1,
            "phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86"}}"#;
        let odd = [plain.replace("\"r-1\"", "13800000000"), format!("{plain}{}", " ".repeat(MAX_RESULT_BYTES))];
        for json in odd.iter().map(String::as_str).chain([plain, "13800000000"]) {
            let kept = String::from_utf8(without_phone_number(json.as_bytes())).expect("JSON");
            assert!(!kept.contains("138000"), "{kept}");
        }
        assert!(String::from_utf8_lossy(&without_phone_number(plain.as_bytes())).contains("\"r-1\""));
    }
}
