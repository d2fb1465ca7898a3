//! Callers who publish straight into RabbitMQ, with confirms.

use std::sync::Arc;
use std::time::Duration;

use quicklogin::clock;
use tokio::time::{sleep, timeout};

use crate::storm::load::{CONFIRMED_WITHIN, DEADLINE_MS, Load, TRIES, TRY_AGAIN, Tap};
use crate::support::amqp::{Outcome, Publisher};
use crate::support::fleet::request;

impl Load {
    /// Publishes a request until it is confirmed; `twice`: and once more after so long.
    pub(super) async fn publish_login(&self, tap: &Tap, twice: Option<Duration>) -> bool {
        let now = clock::now_ms();
        let mut login = request(&tap.code);
        (login.issued_at, login.deadline) = (Some(now), Some(now + DEADLINE_MS));
        let (id, body) = (login.request_id.to_string(), String::from_utf8(login.encode()).expect("JSON is text"));
        self.write_down(&id, &tap.code, Some(&tap.phone), now, false);
        let accepted = self.publish_in_tries(&body).await;
        self.write_down(&id, &tap.code, Some(&tap.phone), now, accepted);
        if let Some(after) = twice {
            sleep(after).await;
            self.publish(&body).await;
        }
        accepted
    }

    pub(super) async fn publish_in_tries(&self, body: &str) -> bool {
        for _ in 0..TRIES {
            if self.publish(body).await {
                return true;
            }
            sleep(TRY_AGAIN).await;
        }
        false
    }

    /// Whether RabbitMQ has confirmed it. If not, it may have it all the same.
    pub(super) async fn publish(&self, body: &str) -> bool {
        let Some(publisher) = self.publisher().await else { return false };
        let publishing = publisher.publish("quicklogin", "login", body.as_bytes(), Publisher::properties("storm"));
        match timeout(CONFIRMED_WITHIN, publishing).await {
            Ok(Ok(outcome)) => outcome == Outcome::Taken,
            _ => {
                let mut shared = self.publisher.lock().await;
                if shared.as_ref().is_some_and(|current| Arc::ptr_eq(current, &publisher)) {
                    *shared = None;
                }
                false
            }
        }
    }

    async fn publisher(&self) -> Option<Arc<Publisher>> {
        let mut shared = self.publisher.lock().await;
        if shared.as_ref().is_none_or(|publisher| !publisher.is_connected()) {
            *shared = Publisher::try_connect(self.processes.servers.vhost.url()).await.map(Arc::new);
        }
        shared.clone()
    }
}
