//! Finds a session that is connected and yet gets nothing: its consumer was forgotten when a node was lost, its queue has
//! no leader, deliveries were lost on the way and fill its prefetch. RabbitMQ tells nobody; so whoever has long been
//! ready for a delivery asks how the queue is.

use std::sync::Mutex;
use std::time::Duration;

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::time::{Instant, sleep};

use crate::queue::rabbit::bounded;

/// Nothing may come for so long before the queue is asked about.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many looks in a row must find something wrong: a queue between two leaders knows nobody for a moment.
const LOOKS: u32 = 2;

/// Since when a session has been ready for a delivery, and none came.
#[derive(Default)]
pub(super) struct Quiet(Mutex<Option<Instant>>);

impl Quiet {
    /// There is room for a delivery.
    pub(super) fn begins(&self) {
        *self.since() = Some(Instant::now());
    }

    /// One has come, and may have to wait for room.
    pub(super) fn ends(&self) {
        *self.since() = None;
    }

    fn is_long(&self) -> bool {
        self.since().is_some_and(|since| since.elapsed() >= LOOK_EVERY)
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

/// Returns when deliveries should come and do not: what is wrong. `has_all`: whether as much is in hand as RabbitMQ hands
/// out.
pub(super) async fn over(quiet: &Quiet, channel: &Channel, queue: &str, has_all: impl Fn() -> bool) -> String {
    let mut wrong = 0;
    loop {
        sleep(LOOK_EVERY).await;
        if !quiet.is_long() || has_all() {
            wrong = 0;
            continue;
        }
        match look(channel, queue).await {
            Ok(None) => wrong = 0,
            Ok(Some(_)) if wrong + 1 < LOOKS => wrong += 1,
            Ok(Some(what)) => return what.to_owned(),
            Err(error) => return format!("RabbitMQ does not say how the queue is: {error}"),
        }
    }
}

/// What is wrong with a queue of which nothing comes.
async fn look(channel: &Channel, queue: &str) -> lapin::Result<Option<&'static str>> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let asked = channel.queue_declare(queue.into(), options, FieldTable::default());
    let found = bounded(asked).await?;
    Ok(match (found.consumer_count(), found.message_count()) {
        (0, _) => Some("connected, but the queue knows of no consumer"),
        (_, 0) => None,
        _ => Some("connected, but messages wait and none is delivered"),
    })
}
