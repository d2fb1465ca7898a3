//! What a process asks of its store beside its work: whether it may do all that it needs, and what an operator should know
//! of it.

use crate::store::{Store, StoreAway};

/// What a process does with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uses {
    /// It takes login requests and shows results: a gateway.
    pub submits: bool,
    /// It claims logins, records results and shares tokens: a worker.
    pub works: bool,
}

impl Store {
    /// Whether there is a connection. If there is none, the store itself logs why.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(redis) => redis.is_connected(),
        }
    }

    /// Whether the store lets this process do all that it needs: each command and each kind of key is tried. Says what it
    /// does not.
    pub async fn check_access(&self, uses: Uses) -> Result<(), StoreAway> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.check_access(uses).await,
        }
    }

    /// By how much this machine's clock is ahead of the store's, in ms; negative if it is behind. None if the store does
    /// not tell.
    pub async fn clock_ahead_ms(&self) -> Option<i64> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => redis.clock_ahead_ms().await,
        }
    }

    /// What is wrong with how the store is set up, as far as it tells.
    pub async fn warnings(&self) -> Vec<String> {
        match self {
            Self::Memory(_) => vec![],
            Self::Redis(redis) => redis.warnings().await,
        }
    }
}
