//! Results that other workers could not write before they stopped: written by whoever can.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::login::{ResultBody, Status};
use crate::queue::{Consumer, Delivery, Settlement};
use crate::store::{Claimed, FinishedResult, Recorded};
use crate::worker::{Stop, Worker};

/// Pauses while the store is away.
const STORE_AWAY: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
/// The last acks have so long to leave.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// Writes what was handed over, one after the other, until the soft stop.
pub async fn record_handed_over(worker: Worker, mut consumer: Consumer, stop: &Stop) {
    while let Some(delivery) = consumer.next().await {
        let writing = worker.write_for_another(&delivery);
        let settlement = stop.soft.run_until_cancelled(writing).await.unwrap_or(Settlement::Requeue);
        delivery.settle(settlement).await;
    }
    consumer.give_back();
    consumer.close(CLOSE_WITHIN).await;
}

impl Worker {
    async fn write_for_another(&self, delivery: &Delivery) -> Settlement {
        let json = &delivery.body;
        let Ok(ResultBody { request_id, status, .. }) = serde_json::from_slice(json) else {
            warn!(bytes = json.len(), "what was handed over is no result");
            return Settlement::Dead { reason: "not a result" };
        };
        let ttl = self.0.limits.result_ttl;
        let finished = FinishedResult { json: json.clone().into(), succeeded: status == Status::Succeeded, ttl };
        let claimed = Claimed::formerly_of(delivery.owner.clone().unwrap_or_default());
        let mut failures = 0;
        loop {
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
}
