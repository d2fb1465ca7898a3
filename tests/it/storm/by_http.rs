//! Callers who submit to the gateway and wait there for what becomes of it.

use std::time::Duration;

use quicklogin::clock;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::storm::load::{DEADLINE_MS, Load, TRIES, TRY_AGAIN, Tap};

/// A gateway that is away may be back.
const ASK_AGAIN: Duration = Duration::from_millis(400);
/// Callers ask so much longer than their deadline.
const OVERTIME_MS: u64 = 10_000;

impl Load {
    /// Submits a code to the gateway until it is taken; `twice`: and once more after so long.
    pub(super) async fn submit(&self, tap: &Tap, twice: Option<Duration>) -> bool {
        let now = clock::now_ms();
        let body = json!({"code": tap.code, "issued_at": now, "deadline": now + DEADLINE_MS}).to_string();
        let mut first = None;
        for again in 0..TRIES + usize::from(twice.is_some()) {
            if let Some(id) = self.submit_once(&body).await {
                self.write_down(&id, &tap.code, Some(&tap.phone), now, true);
                let earlier = first.get_or_insert_with(|| id.clone());
                if *earlier != id {
                    self.ledger.open().complain(Some(&id), format!("the same code has another id, {earlier}"));
                }
            }
            match (&first, twice) {
                (None, _) => sleep(TRY_AGAIN).await,
                (Some(_), Some(after)) if again == 0 => sleep(after).await,
                _ => break,
            }
        }
        if let Some(id) = &first {
            self.wait_for_result(id, now + DEADLINE_MS).await;
        }
        first.is_some()
    }

    /// The id that a 202 gives; none where the gateway is away or says so.
    async fn submit_once(&self, body: &str) -> Option<String> {
        let url = format!("{}/v1/logins", self.processes.servers.gateway_url());
        let request = self.http.post(url).header("content-type", "application/json").body(body.to_owned());
        let answer = request.send().await.ok()?;
        match answer.status().as_u16() {
            202 => {
                let said: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
                said["request_id"].as_str().map(str::to_owned)
            }
            503 => None,
            status => {
                self.ledger.open().complain(None, format!("the gateway answered a good code with {status}"));
                None
            }
        }
    }

    /// Asks for the result as callers do, until it is there. The gateway may not say that it can no longer come.
    async fn wait_for_result(&self, id: &str, deadline: u64) {
        let url = format!("{}/v1/logins/{id}?wait=5", self.processes.servers.gateway_url());
        while clock::now_ms() < deadline + OVERTIME_MS {
            let Ok(answer) = self.http.get(&url).send().await else {
                sleep(ASK_AGAIN).await;
                continue;
            };
            match (answer.status().as_u16(), answer.text().await) {
                (200, Ok(result)) => return self.ledger.open().hear(id, result),
                (200 | 202, _) => {}
                (503, _) => sleep(ASK_AGAIN).await,
                (status, _) => {
                    return self
                        .ledger
                        .open()
                        .complain(Some(id), format!("the gateway answered who waits with {status}"));
                }
            }
        }
        self.ledger.open().complain(Some(id), "the gateway had no result for who waited");
    }
}
