//! A worker's hands: tasks that stay, each with one thing at a time, since a task for each would be the dearest allocation
//! of a login. What is in them and what is done with it is `worker`'s business.
//!
//! There are as many as were ever busy at once. The one that was free last is given something first: its memory is still
//! warm.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use tokio_util::task::TaskTracker;

use crate::machine;

/// All hands, and what each does with what it is given.
pub(super) struct Hands<T, W> {
    work: W,
    free: Arc<Free<T>>,
    all: TaskTracker,
}

/// Those with nothing in them; none, once that is over.
struct Free<T>(Mutex<Option<Vec<Arc<Hand<T>>>>>);

/// Where a hand finds what it is given.
struct Hand<T>(Mutex<Given<T>>);

enum Given<T> {
    Nothing(Option<Waker>),
    Something(T),
    /// And nothing more.
    End,
}

impl<T, W, F> Hands<T, W>
where
    T: Send + 'static,
    W: Fn(T) -> F + Clone + Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    /// What the work leaves behind is dropped when its hand is free again.
    pub(super) fn new(work: W) -> Self {
        Self { work, free: Arc::new(Free(Mutex::new(Some(vec![])))), all: TaskTracker::new() }
    }

    /// Gives it to a hand that is free, or to a new one.
    pub(super) fn take(&self, given: T) {
        self.free.pop().unwrap_or_else(|| self.grow()).give(Given::Something(given));
    }

    fn grow(&self) -> Arc<Hand<T>> {
        let hand = Arc::new(Hand(Mutex::new(Given::Nothing(None))));
        machine::spawn(&self.all, keep_working(Arc::clone(&hand), self.work.clone(), Arc::clone(&self.free)));
        hand
    }

    /// Takes nothing more. Answers how many are busy.
    pub(super) fn close(&self) -> usize {
        let all = self.all.len();
        self.all.close();
        all.saturating_sub(self.free.end())
    }

    /// Waits, after that, until none is busy.
    pub(super) async fn wait(&self) {
        self.all.wait().await;
    }
}

impl<T, W> Drop for Hands<T, W> {
    fn drop(&mut self) {
        self.free.end();
    }
}

/// One hand, until there is nothing more. A panic in its work ends it, and no other.
async fn keep_working<T, F: Future>(hand: Arc<Hand<T>>, work: impl Fn(T) -> F, free: Arc<Free<T>>) {
    while let Some(given) = hand.next().await {
        let left_behind = work(given).await;
        let goes_on = free.push(&hand);
        // Not before: a place in hand, which somebody waits for to give the next.
        drop(left_behind);
        if !goes_on {
            return;
        }
    }
}

impl<T> Free<T> {
    fn pop(&self) -> Option<Arc<Hand<T>>> {
        self.lock().as_mut()?.pop()
    }

    /// False: there is nothing more.
    fn push(&self, hand: &Arc<Hand<T>>) -> bool {
        let mut free = self.lock();
        let Some(hands) = &mut *free else { return false };
        hands.push(Arc::clone(hand));
        true
    }

    /// Answers how many were free.
    fn end(&self) -> usize {
        let hands = self.lock().take().unwrap_or_default();
        hands.iter().for_each(|hand| hand.give(Given::End));
        hands.len()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Arc<Hand<T>>>>> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

impl<T> Hand<T> {
    fn give(&self, given: Given<T>) {
        let before = mem::replace(&mut *self.lock(), given);
        if let Given::Nothing(Some(waker)) = before {
            waker.wake();
        }
    }

    /// None: there is nothing more.
    async fn next(&self) -> Option<T> {
        poll_fn(|context| {
            let mut given = self.lock();
            match mem::replace(&mut *given, Given::Nothing(None)) {
                Given::Something(given) => Poll::Ready(Some(given)),
                Given::End => Poll::Ready(None),
                Given::Nothing(_) => {
                    *given = Given::Nothing(Some(context.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Given<T>> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::BoxFuture;
    use tokio::sync::oneshot;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// Lasts until it is told to end.
    type Work = oneshot::Receiver<()>;

    /// Hands, and how often they have come to an end.
    fn counting() -> (Arc<AtomicUsize>, Hands<Work, impl Fn(Work) -> BoxFuture<'static, ()> + Clone + Send>) {
        let done = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&done);
        let hands = Hands::new(move |work: Work| -> BoxFuture<'static, ()> {
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                work.await.expect("whoever does not tell it means a panic");
                counted.fetch_add(1, Ordering::Relaxed);
            })
        });
        (done, hands)
    }

    /// Gives them so much to do. Answers what ends each.
    fn given<W>(hands: &Hands<Work, W>, count: usize) -> Vec<oneshot::Sender<()>>
    where
        W: Fn(Work) -> BoxFuture<'static, ()> + Clone + Send + 'static,
    {
        let give = |(end, work)| {
            hands.take(work);
            end
        };
        (0..count).map(|_| give(oneshot::channel())).collect()
    }

    fn end(work: oneshot::Sender<()>) {
        work.send(()).expect("it is worked on");
    }

    async fn settle() {
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn there_are_as_many_as_were_busy_at_once() {
        let (done, hands) = counting();
        for at_once in [3, 1, 2, 3] {
            let works = given(&hands, at_once);
            settle().await;
            works.into_iter().for_each(end);
            settle().await;
        }
        assert_eq!((done.load(Ordering::Relaxed), hands.all.len()), (9, 3));
    }

    #[tokio::test]
    async fn what_is_in_hand_at_the_end_is_finished_and_every_hand_ends() {
        let (done, hands) = counting();
        let mut works = given(&hands, 2);
        end(works.remove(0));
        settle().await;
        assert_eq!(hands.close(), 1);
        assert!(timeout(Duration::from_millis(10), hands.wait()).await.is_err(), "one is busy");
        works.into_iter().for_each(end);
        hands.wait().await;
        assert_eq!(done.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_was_given_and_never_begun_is_finished_too() {
        let (done, hands) = counting();
        given(&hands, 1).into_iter().for_each(end);
        hands.close();
        hands.wait().await;
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_panic_costs_one_hand_and_no_other() {
        let (done, hands) = counting();
        let mut works = given(&hands, 2);
        drop(works.remove(0));
        settle().await;
        assert_eq!(hands.all.len(), 1);
        works.into_iter().for_each(end);
        hands.close();
        hands.wait().await;
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn hands_of_nobody_end() {
        let (_, hands) = counting();
        given(&hands, 1).into_iter().for_each(end);
        settle().await;
        let all = hands.all.clone();
        drop(hands);
        all.close();
        all.wait().await;
    }

    /// Notes how many hands are free when it is dropped.
    struct LeftBehind {
        free: Arc<OnceLock<Arc<Free<()>>>>,
        seen: Arc<AtomicUsize>,
    }

    impl Drop for LeftBehind {
        fn drop(&mut self) {
            let free = self.free.get().expect("there are hands").lock().as_ref().map_or(0, Vec::len);
            self.seen.store(free, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn what_is_left_behind_is_dropped_when_the_hand_is_free() {
        let (free, seen) = (Arc::<OnceLock<_>>::default(), Arc::<AtomicUsize>::default());
        let left_behind = (Arc::clone(&free), Arc::clone(&seen));
        let hands = Hands::new(move |()| {
            let (free, seen) = left_behind.clone();
            async { LeftBehind { free, seen } }
        });
        assert!(free.set(Arc::clone(&hands.free)).is_ok());
        hands.take(());
        settle().await;
        assert_eq!(seen.load(Ordering::Relaxed), 1);
    }
}
