//! What to do about publishes that no queue gets: the exchange, a binding or a queue was removed at run time. Everything
//! is declared again, once for all publishes that wait for it. What is still unroutable then makes the process unready.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::fault_log::FaultLog;
use crate::queue::rabbit::link::Link;
use crate::queue::rabbit::{RabbitSettings, fault};

/// Time between the discovery and the repair. A quorum queue that is declared while RabbitMQ 3.10 still removes the one
/// that had its name confirms a publish and loses it.
const REMOVED_WITHIN: Duration = Duration::from_millis(300);
/// Minimum interval between two repairs.
const REPAIR_INTERVAL: Duration = Duration::from_millis(500);
/// A routing key counts as unroutable for so long after the last publish that no queue got. Nothing but a publish can find
/// out whether it is routable again, and a process that is not ready may get none; so it is ready again after that.
const UNROUTABLE_FOR: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Repairs {
    /// How many repairs there were.
    number: AtomicU64,
    /// Held during a repair; when the last one ended.
    last: tokio::sync::Mutex<Option<Instant>>,
    /// Spares publishes the lock while nothing is unroutable.
    any_unroutable: AtomicBool,
    /// Why, and until when, by routing key.
    unroutable: Mutex<BTreeMap<String, (Instant, String)>>,
    faults: FaultLog,
}

impl Repairs {
    /// How many repairs there were. A publish reads this before it goes out.
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Declares everything again, or only checks it, as the settings say; unless that was done since there were `before`
    /// repairs. That something is still missing is no error: the next publish finds out. An error is the connection's.
    pub(super) async fn repair(&self, link: &Link, settings: &RabbitSettings, before: u64) -> lapin::Result<()> {
        let mut last = self.last.lock().await;
        if self.number() != before {
            return Ok(());
        }
        sleep(REMOVED_WITHIN).await;
        if let Some(last) = *last {
            sleep_until(last + REPAIR_INTERVAL).await;
        }
        let repaired = link.declare_again(settings).await;
        *last = Some(Instant::now());
        self.number.fetch_add(1, Ordering::Relaxed);
        match repaired {
            Ok(()) if settings.declare => {
                if let Some(suppressed) = self.faults.failed("removed") {
                    warn!(suppressed, "exchange, queues and bindings are declared again: no queue got a publish");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) if fault::is_not_found(&error) || fault::is_refused(&error) => {
                let why = fault::text(&error);
                if let Some(suppressed) = self.faults.failed(&why) {
                    warn!(why, suppressed, "no queue gets a publish, and what is missing cannot be declared");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A queue has got a publish with this routing key.
    pub(super) fn routed(&self, routing_key: &str) {
        if let Some(lasted) = self.faults.ended() {
            info!(routing_key, lasted_s = lasted.as_secs(), "publishes are routed to a queue again");
        }
        if !self.any_unroutable.load(Ordering::Relaxed) {
            return;
        }
        let mut unroutable = self.lock();
        unroutable.remove(routing_key);
        self.any_unroutable.store(!unroutable.is_empty(), Ordering::Relaxed);
    }

    /// No queue has got a publish with this routing key, also after a repair.
    pub(super) fn not_routed(&self, routing_key: &str, why: String) {
        if let Some(suppressed) = self.faults.failed(&why) {
            let hint = "restore the binding; or set rabbitmq.declare = true, and permit the user to configure it";
            warn!(why, hint, suppressed, "publishes are unroutable");
        }
        self.lock().insert(routing_key.to_owned(), (Instant::now() + UNROUTABLE_FOR, why));
        self.any_unroutable.store(true, Ordering::Relaxed);
    }

    /// Why publishes are unroutable, if some are.
    pub(super) fn unroutable(&self) -> Option<String> {
        if !self.any_unroutable.load(Ordering::Relaxed) {
            return None;
        }
        let now = Instant::now();
        self.lock().values().find(|(until, _)| *until > now).map(|(_, why)| why.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, String)>> {
        self.unroutable.lock().expect("nothing panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_routing_key_is_unroutable_until_a_publish_with_it_is_routed() {
        let repairs = Repairs::default();
        assert_eq!(repairs.unroutable(), None);
        for key in ["login", "login.1"] {
            repairs.not_routed(key, format!("no queue for {key}"));
        }
        repairs.routed("login.2");
        repairs.routed("login");
        assert_eq!(repairs.unroutable().as_deref(), Some("no queue for login.1"), "another key's success says nothing");
        repairs.routed("login.1");
        assert_eq!(repairs.unroutable(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_publishes_it_is_tried_again_after_a_while() {
        let repairs = Repairs::default();
        repairs.not_routed("login", "no queue".into());
        advance(UNROUTABLE_FOR - Duration::from_secs(1)).await;
        assert!(repairs.unroutable().is_some());
        advance(Duration::from_secs(1)).await;
        assert_eq!(repairs.unroutable(), None);
    }
}
