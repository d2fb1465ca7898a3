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

/// Since when a session has been ready for a delivery, and none came: of each of its queues, since the others may be as
/// loud as they like.
pub(super) struct Quiet(Mutex<Lulls>);

struct Lulls {
    /// Queue by queue; none where something has come.
    since: Vec<Option<Instant>>,
    /// Until when that is known: what comes while there is no room for it is not seen. None: somebody listens.
    until: Option<Instant>,
}

impl Quiet {
    /// Of so many queues.
    pub(super) fn of(queues: usize) -> Self {
        Self(Mutex::new(Lulls { since: vec![None; queues], until: Some(Instant::now()) }))
    }

    /// There is room for a delivery.
    pub(super) fn begins(&self) {
        self.lulls().until = None;
    }

    /// There is room, and something of this queue, or nothing.
    pub(super) fn found(&self, queue: usize, something: bool) {
        let since = &mut self.lulls().since[queue];
        match something {
            true => *since = None,
            false => *since = since.or_else(|| Some(Instant::now())),
        }
    }

    /// A delivery was handed out, and the next may have to wait for room.
    pub(super) fn ends(&self) {
        self.lulls().until = Some(Instant::now());
    }

    fn is_long(&self, queue: usize) -> bool {
        let lulls = self.lulls();
        let until = lulls.until.unwrap_or_else(Instant::now);
        let long = |since: Instant| until.duration_since(since) >= LOOK_EVERY && until.elapsed() < LOOK_EVERY;
        lulls.since[queue].is_some_and(long)
    }

    fn lulls(&self) -> std::sync::MutexGuard<'_, Lulls> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

/// Returns when deliveries should come of one of the queues and do not: what is wrong. `has_all`: whether as much of it is
/// in hand as RabbitMQ hands out.
pub(super) async fn over(
    quiet: &Quiet,
    channel: &Channel,
    queues: &[String],
    has_all: impl Fn(usize) -> bool,
) -> String {
    let mut wrong = vec![0; queues.len()];
    loop {
        sleep(LOOK_EVERY).await;
        for (n, queue) in queues.iter().enumerate() {
            if !quiet.is_long(n) || has_all(n) {
                wrong[n] = 0;
                continue;
            }
            match look(channel, queue).await {
                Ok(None) => wrong[n] = 0,
                Ok(Some(_)) if wrong[n] + 1 < LOOKS => wrong[n] += 1,
                Ok(Some(what)) => return format!("{what}: {queue}"),
                Err(error) => return format!("RabbitMQ does not say how {queue} is: {error}"),
            }
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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LONG: Duration = Duration::from_secs(6);

    /// One delivery after the other of the first queue, and nothing of the second.
    async fn only_the_first_is_heard(quiet: &Quiet) {
        for _ in 0..20 {
            quiet.begins();
            quiet.found(0, true);
            quiet.found(1, false);
            quiet.ends();
            advance(LONG / 20).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_quiet_however_loud_another_is() {
        let quiet = Quiet::of(2);
        only_the_first_is_heard(&quiet).await;
        assert_eq!([0, 1].map(|queue| quiet.is_long(queue)), [false, true]);
        quiet.begins();
        quiet.found(1, true);
        assert!(!quiet.is_long(1), "something has come");
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_comes_while_there_is_no_room_nobody_knows() {
        let quiet = Quiet::of(2);
        only_the_first_is_heard(&quiet).await;
        advance(LONG).await;
        assert!(!quiet.is_long(1), "it may have come by now");
        quiet.begins();
        quiet.found(1, false);
        assert!(quiet.is_long(1), "it has not");
    }

    #[tokio::test(start_paused = true)]
    async fn who_listens_to_nothing_knows_at_every_moment() {
        let quiet = Quiet::of(1);
        quiet.begins();
        quiet.found(0, false);
        assert!(!quiet.is_long(0));
        advance(LONG).await;
        assert!(quiet.is_long(0));
    }
}
