//! The machine that a worker is on: what it runs is spawned here, and the wall clock is read here. That is this process
//! and its clock, unless a simulation has made up another one, which may stand still, lose everything that it runs, or
//! have a clock that is wrong. What lies between machines is not here: see [`wechat::StandIn`] and [`store::Distance`].
//!
//! [`wechat::StandIn`]: crate::wechat::StandIn
//! [`store::Distance`]: crate::store::Distance

use std::cell::RefCell;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Machine>>> = const { RefCell::new(None) };
}

/// A machine that a simulation has made up.
pub trait Machine: Send + Sync {
    /// Its wall clock, in Unix ms.
    fn now_ms(&self) -> u64;

    /// Takes in something that is to run here. What comes of it polls that under [`on`] this machine, and never ends once
    /// the machine has lost it.
    fn carry(&self, runs: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
}

/// Does something on a machine: what it spawns runs there too.
pub fn on<T>(machine: Arc<dyn Machine>, act: impl FnOnce() -> T) -> T {
    let _left = Left(CURRENT.replace(Some(machine)));
    act()
}

/// Goes back to the machine of before, also in a panic.
struct Left(Option<Arc<dyn Machine>>);

impl Drop for Left {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Spawns on the tracker, and on the machine that this is done on.
pub(crate) fn spawn<F>(tracker: &TaskTracker, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let Some(machine) = current() else { return tracker.spawn(future) };
    let (done, output) = oneshot::channel();
    let carried = machine.carry(Box::pin(async move {
        // Nobody waits for it? Then it is only run.
        let _ = done.send(future.await);
    }));
    tracker.spawn(async move {
        carried.await;
        output.await.expect("what was carried to its end has sent its output")
    })
}

/// The wall clock of a machine that a simulation has made up.
pub(crate) fn simulated_now_ms() -> Option<u64> {
    CURRENT.with_borrow(|machine| machine.as_ref().map(|machine| machine.now_ms()))
}

fn current() -> Option<Arc<dyn Machine>> {
    CURRENT.with_borrow(Clone::clone)
}
