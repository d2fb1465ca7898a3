//! The queue of one process: bounded, at least once, with dead letters; gone when the process ends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::queue::{Delivery, PublishFault, Returns, Settlement};
use crate::traceparent::Traceparent;

/// So many dead letters are kept, the oldest go first.
const MAX_DEAD: usize = 1_000;

/// A handle on the process's queue; cheap to clone.
#[derive(Clone)]
pub struct MemoryQueue(Arc<Shared>);

struct Shared {
    capacity: usize,
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    dead: VecDeque<(Vec<u8>, &'static str)>,
}

struct Waiting {
    body: Vec<u8>,
    redelivered: bool,
    traceparent: Option<Traceparent>,
}

pub struct Consumer {
    queue: MemoryQueue,
    stop: CancellationToken,
    consuming: watch::Sender<bool>,
}

pub(super) struct Settler(MemoryQueue);

impl MemoryQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared { capacity, state: Mutex::default(), more: Notify::new() }))
    }

    /// Puts a body at the end of the queue, whatever it is.
    pub fn publish(&self, body: Vec<u8>, traceparent: Option<Traceparent>) -> Result<(), PublishFault> {
        let mut state = self.state();
        if state.waiting.len() >= self.0.capacity {
            return Err(PublishFault::Full);
        }
        state.waiting.push_back(Waiting { body, redelivered: false, traceparent });
        drop(state);
        self.0.more.notify_one();
        Ok(())
    }

    /// The dead letters, oldest first, each with its reason.
    pub fn dead(&self) -> Vec<(Vec<u8>, &'static str)> {
        self.state().dead.iter().cloned().collect()
    }

    pub(super) fn depth(&self) -> u64 {
        self.state().waiting.len() as u64
    }

    pub(super) fn consume(&self, stop: CancellationToken) -> Consumer {
        Consumer { queue: self.clone(), stop, consuming: watch::Sender::new(true) }
    }

    fn take(&self) -> Option<Waiting> {
        let mut state = self.state();
        let taken = state.waiting.pop_front();
        if !state.waiting.is_empty() {
            self.0.more.notify_one();
        }
        taken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no verb panics half-way")
    }
}

impl Consumer {
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.stop.is_cancelled() {
                self.consuming.send_replace(false);
                return None;
            }
            if let Some(Waiting { body, redelivered, traceparent }) = self.queue.take() {
                let settler = Some(super::Settler::Memory(Settler(self.queue.clone())));
                return Some(Delivery {
                    body,
                    redelivered,
                    returns: Returns::Few,
                    timestamp: None,
                    traceparent,
                    proof: None,
                    settler,
                });
            }
            tokio::select! {
                biased;
                () = self.queue.0.more.notified() => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    pub(super) fn consuming(&self) -> watch::Receiver<bool> {
        self.consuming.subscribe()
    }
}

impl Settler {
    pub(super) fn settle(self, delivery: &mut Delivery, settlement: Settlement) {
        let body = std::mem::take(&mut delivery.body);
        let mut state = self.0.state();
        match settlement {
            Settlement::Ack => return,
            Settlement::Requeue => {
                let traceparent = delivery.traceparent.take();
                state.waiting.push_front(Waiting { body, redelivered: true, traceparent });
            }
            Settlement::Dead { reason } => {
                if state.dead.len() >= MAX_DEAD {
                    state.dead.pop_front();
                }
                state.dead.push_back((body, reason));
                return;
            }
        }
        drop(state);
        self.0.0.more.notify_one();
    }
}
