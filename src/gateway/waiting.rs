//! Callers that wait for results: one loop reads for all of them, in one round trip.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::login::RequestId;
use crate::meters::Meters;
use crate::store::Store;

/// How often the store is read while anybody waits, at most.
const READ_EVERY: Duration = Duration::from_millis(20);
/// So many results are read in a second, at most: ten thousand callers must not keep Redis from the workers.
const READS_A_SECOND: u32 = 50_000;
/// So many results are read in one round trip, at most.
const READ_AT_ONCE: usize = 500;

/// How a wait ended.
pub(super) enum Ended {
    Result(Bytes),
    TimeUp,
    TooMany,
}

/// The door to the loop; cheap to clone.
#[derive(Clone)]
pub(super) struct Waiting {
    arrivals: mpsc::Sender<Caller>,
    room: Arc<Semaphore>,
}

struct Caller {
    request_id: RequestId,
    answer: oneshot::Sender<Bytes>,
}

impl Waiting {
    /// Starts the loop, for at most `max_waiting` callers at once.
    pub(super) fn start(
        store: Store,
        max_waiting: usize,
        meters: Meters,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (arrivals, callers) = mpsc::channel(max_waiting.clamp(1, 4096));
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = answer_all(&store, &meters, callers) => {}
            }
        });
        Self { arrivals, room: Arc::new(Semaphore::new(max_waiting)) }
    }

    pub(super) async fn wait(&self, request_id: RequestId, at_most: Duration) -> Ended {
        let Ok(_place) = self.room.try_acquire() else { return Ended::TooMany };
        let (answer, answered) = oneshot::channel();
        let waiting = async {
            self.arrivals.send(Caller { request_id, answer }).await.ok()?;
            answered.await.ok()
        };
        match timeout(at_most, waiting).await {
            Ok(Some(result)) => Ended::Result(result),
            _ => Ended::TimeUp,
        }
    }
}

async fn answer_all(store: &Store, meters: &Meters, mut arrivals: mpsc::Receiver<Caller>) {
    let mut waiting: HashMap<RequestId, Vec<oneshot::Sender<Bytes>>> = HashMap::new();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            caller = arrivals.recv() => match caller {
                Some(Caller { request_id, answer }) => waiting.entry(request_id).or_default().push(answer),
                None => return,
            },
            () = sleep_until(next), if !waiting.is_empty() => {
                waiting.retain(|_, answers| {
                    answers.retain(|answer| !answer.is_closed());
                    !answers.is_empty()
                });
                read_all(store, &mut waiting).await;
                meters.polls_waiting(waiting.values().map(Vec::len).sum());
                let fair = Duration::from_secs(1) * waiting.len() as u32 / READS_A_SECOND;
                next = Instant::now() + fair.max(READ_EVERY);
            }
        }
    }
}

async fn read_all(store: &Store, waiting: &mut HashMap<RequestId, Vec<oneshot::Sender<Bytes>>>) {
    let ids: Vec<RequestId> = waiting.keys().cloned().collect();
    for ids in ids.chunks(READ_AT_ONCE) {
        let results = match store.results(ids).await {
            Ok(results) => results,
            Err(fault) => return debug!(%fault, callers = waiting.len(), "callers go on waiting"),
        };
        for (id, result) in ids.iter().zip(results) {
            let Some(result) = result else { continue };
            for answer in waiting.remove(id).into_iter().flatten() {
                let _ = answer.send(result.clone());
            }
        }
    }
}
