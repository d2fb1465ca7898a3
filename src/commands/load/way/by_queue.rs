//! As a gateway of somebody's own does it: published with a confirm, and the result found in the store.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::Left;
use crate::login::{AppId, Code, LoginRequest, RequestId};
use crate::queue::{PublishFault, Queue};
use crate::simulator::Minted;
use crate::store::Store;
use crate::traceparent::Traceparent;

/// How often results are looked for, at most: a latency is known this exactly.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// So many are looked for in a second, at most: the load must not keep Redis from the workers. With more than 250 in
/// flight, results are looked for less often than every 5 ms.
const LOOKS_A_SECOND: u32 = 50_000;
/// So many are looked for in one round trip, at most.
const LOOK_AT_ONCE: usize = 500;
/// So many logins may have been published and not yet be looked for.
const ARRIVING_MOST: usize = 4096;

pub(in crate::commands::load) struct ByQueue {
    queue: Queue,
    appid: Option<AppId>,
    published: mpsc::Sender<Waiting>,
}

/// A login that was published. Whoever waits for it drops the other end to give up.
#[derive(Debug)]
struct Waiting {
    request_id: RequestId,
    result: oneshot::Sender<Bytes>,
}

impl ByQueue {
    /// Looks for results until it is dropped.
    pub(in crate::commands::load) fn new(queue: Queue, store: Store, appid: Option<AppId>) -> Self {
        let (published, arriving) = mpsc::channel(ARRIVING_MOST);
        tokio::spawn(look(store, arriving));
        Self { queue, appid, published }
    }

    pub(super) async fn log_in(&self, tap: &Minted) -> Left {
        let Ok(code) = Code::try_from(tap.code.as_str()) else { return Left::Refused("no_code".into()) };
        let request = LoginRequest {
            request_id: RequestId::generate(),
            appid: self.appid.clone(),
            code,
            openid: None,
            issued_at: Some(tap.issued_at),
            deadline: None,
        };
        // Boxed: a login that waits for its result is past it.
        match Box::pin(self.queue.publish(&request, &Traceparent::generate())).await {
            Ok(()) => {}
            Err(PublishFault::Full) => return Left::Refused("queue_full".into()),
            Err(PublishFault::Away(_)) => return Left::Refused("queue_away".into()),
        }
        let (result, found) = oneshot::channel();
        let waiting = Waiting { request_id: request.request_id, result };
        self.published.send(waiting).await.expect("it looks for as long as anybody may publish");
        Left::Result(found.await.expect("it looks for as long as anybody waits"))
    }
}

/// One loop looks for all.
async fn look(store: Store, mut arriving: mpsc::Receiver<Waiting>) {
    let (mut waiting, mut next) = (Vec::new(), Instant::now());
    loop {
        tokio::select! {
            arrived = arriving.recv() => match arrived {
                Some(one) => waiting.push(one),
                None => return,
            },
            () = sleep_until(next), if !waiting.is_empty() => {
                waiting.retain(|one| !one.result.is_closed());
                waiting = look_at_all(&store, waiting).await;
                let fair = Duration::from_secs(1) * waiting.len() as u32 / LOOKS_A_SECOND;
                next = Instant::now() + fair.max(LOOK_EVERY);
            }
        }
    }
}

/// Hands out what is found; the others are left.
async fn look_at_all(store: &Store, waiting: Vec<Waiting>) -> Vec<Waiting> {
    let mut left = Vec::with_capacity(waiting.len());
    let mut waiting = waiting.into_iter();
    loop {
        let some: Vec<Waiting> = waiting.by_ref().take(LOOK_AT_ONCE).collect();
        if some.is_empty() {
            return left;
        }
        let ids: Vec<RequestId> = some.iter().map(|one| one.request_id.clone()).collect();
        let found = store.results(&ids).await.unwrap_or_else(|fault| {
            debug!(%fault, "results are looked for again");
            vec![None; ids.len()]
        });
        for (one, json) in some.into_iter().zip(found) {
            match json {
                // Nobody waits any more? Then it was too late.
                Some(json) => drop(one.result.send(json)),
                None => left.push(one),
            }
        }
    }
}
