//! What a process stands on: everything in itself, or a fleet's RabbitMQ and Redis. Half a pair cannot be said.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::queue::{BadQueueUrl, Queue, RabbitSettings};
use crate::store::{BadStoreUrl, RedisSettings, Store};

/// So many requests wait in an embedded queue, at most.
const EMBEDDED_CAPACITY: usize = 100_000;

/// What a process stands on.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Queue and store in this process; nothing survives a restart.
    Embedded,
    /// Queue and store shared by many processes.
    Fleet {
        /// The queue.
        rabbitmq: Box<RabbitSettings>,
        /// The store.
        redis: RedisSettings,
    },
}

/// A URL that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadBackend {
    /// The queue's.
    #[error(transparent)]
    Queue(#[from] BadQueueUrl),
    /// The store's.
    #[error(transparent)]
    Store(#[from] BadStoreUrl),
}

impl Backend {
    /// Whether everything is in this process.
    pub fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded)
    }

    /// Whether the URLs can be used, without connecting.
    pub fn check(&self) -> Result<(), BadBackend> {
        match self {
            Self::Embedded => Ok(()),
            Self::Fleet { rabbitmq, redis } => {
                rabbitmq.check()?;
                redis.check()?;
                Ok(())
            }
        }
    }

    /// Makes the handles. Connections are made in the background, until `stop`.
    pub fn open(self, tracker: &TaskTracker, stop: &CancellationToken) -> Result<(Queue, Store), BadBackend> {
        match self {
            Self::Embedded => Ok((Queue::in_memory(EMBEDDED_CAPACITY), Store::in_memory())),
            Self::Fleet { rabbitmq, redis } => {
                Ok((Queue::rabbit(*rabbitmq, tracker)?, Store::redis(&redis, tracker, stop.clone())?))
            }
        }
    }
}
