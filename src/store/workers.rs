//! Which workers there are: each notes what it has to say of itself, and is forgotten if it stops doing so.

use std::time::Duration;

use bytes::Bytes;

use crate::store::{Store, StoreAway};

impl Store {
    /// Notes that a worker runs, and what it says of itself, for `life`.
    pub async fn note_worker(&self, worker: &str, json: Bytes, life: Duration) -> Result<(), StoreAway> {
        match self {
            Self::Memory(memory) => {
                memory.reach("note_worker", &worker, |memory| memory.note_worker(worker, json, life)).await
            }
            Self::Redis(redis) => redis.note_worker(worker, json, life).await,
        }
    }

    /// What the workers say of themselves that have noted it lately.
    pub async fn workers(&self) -> Result<Vec<Bytes>, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("workers", &"", |memory| memory.workers()).await,
            Self::Redis(redis) => redis.workers().await,
        }
    }
}
