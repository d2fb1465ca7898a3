//! The two ways in for a login, and out for its result.

mod by_gateway;
mod by_queue;

use bytes::Bytes;

pub(super) use by_gateway::ByGateway;
pub(super) use by_queue::ByQueue;

use crate::simulator::Minted;

/// A way in and out.
pub(super) enum Way {
    Gateway(ByGateway),
    Queue(ByQueue),
}

/// How a login left the line.
pub(super) enum Left {
    /// With a result, as it stands in the store.
    Result(Bytes),
    /// It was not taken in: who said so, in a word to count by.
    Refused(String),
}

impl Way {
    /// Sends a login and waits for its result: for ever, so the caller bounds it.
    pub(super) async fn log_in(&self, tap: &Minted) -> Left {
        match self {
            // Boxed, so that a login through the queue is not as big as one by HTTP.
            Self::Gateway(gateway) => Box::pin(gateway.log_in(tap)).await,
            Self::Queue(queue) => queue.log_in(tap).await,
        }
    }
}
