//! A worker's hands: tasks that stay, each with one delivery at a time, since a task for each login would be the dearest
//! of its allocations. What is done with a delivery is told in `worker`.
//!
//! There are no more of them than places in hand. The one that was free last is given something first: its memory is
//! still warm.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use crate::machine;
use crate::queue::Delivery;
use crate::worker::arriving::Arrived;
use crate::worker::{Stop, Worker};

/// A delivery that has been looked at, and its place.
pub(super) struct InHand {
    pub(super) delivery: Delivery,
    pub(super) arrived: Arrived,
    pub(super) place: OwnedSemaphorePermit,
}

/// All hands of a worker.
pub(super) struct Hands {
    worker: Worker,
    stop: Stop,
    free: Arc<Free>,
    all: TaskTracker,
}

/// Those with nothing in them; none, once that is over.
struct Free(Mutex<Option<Vec<Arc<Hand>>>>);

/// Where a hand finds what it is given.
#[derive(Default)]
struct Hand(Mutex<Given>);

enum Given {
    Nothing(Option<Waker>),
    Something(InHand),
    /// And nothing more.
    End,
}

impl Default for Given {
    fn default() -> Self {
        Self::Nothing(None)
    }
}

impl Hands {
    pub(super) fn new(worker: Worker, stop: Stop) -> Self {
        Self { worker, stop, free: Arc::new(Free(Mutex::new(Some(vec![])))), all: TaskTracker::new() }
    }

    /// Puts it into a hand that is free, or a new one.
    pub(super) fn take(&self, in_hand: InHand) {
        let hand = self.free.pop().unwrap_or_else(|| self.grow());
        hand.give(Given::Something(in_hand));
    }

    fn grow(&self) -> Arc<Hand> {
        let hand = Arc::<Hand>::default();
        let working = work(Arc::clone(&hand), self.worker.clone(), self.stop.clone(), Arc::clone(&self.free));
        machine::spawn(&self.all, working);
        hand
    }

    /// Takes nothing more. Answers how many are not free.
    pub(super) fn close(&self) -> usize {
        let busy = self.all.len();
        self.all.close();
        busy.saturating_sub(self.free.end())
    }

    /// Waits, after that, until everything is settled.
    pub(super) async fn wait(&self) {
        self.all.wait().await;
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.free.end();
    }
}

/// One hand, until nothing more is given. A panic in here ends it, and what it has goes back.
async fn work(hand: Arc<Hand>, worker: Worker, stop: Stop, free: Arc<Free>) {
    while let Some(InHand { delivery, arrived, place }) = hand.next().await {
        worker.work_on(delivery, arrived, &stop).await;
        let goes_on = free.push(&hand);
        // Only now: whoever has the place finds a hand that is free.
        drop(place);
        if !goes_on {
            return;
        }
    }
}

impl Free {
    fn pop(&self) -> Option<Arc<Hand>> {
        self.lock().as_mut()?.pop()
    }

    /// False: there will be nothing more.
    fn push(&self, hand: &Arc<Hand>) -> bool {
        let mut free = self.lock();
        let goes_on = free.is_some();
        free.iter_mut().for_each(|hands| hands.push(Arc::clone(hand)));
        goes_on
    }

    /// Answers how many were free.
    fn end(&self) -> usize {
        let hands = self.lock().take().unwrap_or_default();
        hands.iter().for_each(|hand| hand.give(Given::End));
        hands.len()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Arc<Hand>>>> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

impl Hand {
    fn give(&self, given: Given) {
        let before = mem::replace(&mut *self.lock(), given);
        if let Given::Nothing(Some(waker)) = before {
            waker.wake();
        }
    }

    /// None: there is nothing more.
    async fn next(&self) -> Option<InHand> {
        poll_fn(|context| {
            let mut given = self.lock();
            match mem::take(&mut *given) {
                Given::Something(in_hand) => Poll::Ready(Some(in_hand)),
                Given::End => Poll::Ready(None),
                Given::Nothing(waker) => {
                    let waker = waker.filter(|waker| waker.will_wake(context.waker()));
                    *given = Given::Nothing(Some(waker.unwrap_or_else(|| context.waker().clone())));
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        self.0.lock().expect("nothing panics while holding it")
    }
}
