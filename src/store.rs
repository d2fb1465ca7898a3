//! Where claims, results and the shared access token live: Redis for a fleet, memory for one process. The verbs about
//! tokens are in `tokens`.
//!
//! Only this file and `tokens` know that there are two. Each verb is one round trip; whatever must not be torn apart
//! (claiming, recording, handing over a token) is decided inside the store, so no lock is trusted for it.

mod checkup;
mod memory;
mod redis;
mod tokens;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use checkup::Uses;
pub use memory::{Distance, Memory};
pub use redis::{BadStoreUrl, RedisSettings};
pub use tokens::{Budget, ExternalValue, FoundKey, KeyKind, NoLook, Renewal, SharedRefusal, SharedState, SharedToken};

use crate::login::RequestId;

/// A handle on the store; cheap to clone.
#[derive(Clone)]
pub enum Store {
    /// In this process; nothing survives a restart.
    Memory(Memory),
    /// Shared by the fleet.
    Redis(redis::Redis),
}

/// The store did not answer, or answered that it cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store is away: {0}")]
pub struct StoreAway(String);

/// What a worker is told when it wants to ask WeChat for a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody else asks while the lease lasts.
    Mine(Claimed),
    /// The result is there already.
    Recorded,
    /// Someone else is asking, for at most so long.
    Held {
        /// What is left of their lease.
        left: Duration,
    },
}

/// The right to ask WeChat for one login, for as long as the lease lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Whose claim; unlike any other, also within one worker.
    owner: Arc<str>,
    /// How often WeChat was asked before, as far as is known.
    pub asked: u32,
    /// Whether an earlier claim ran out while its owner may have been asking.
    pub unheard: bool,
}

/// A result ready to be recorded.
#[derive(Debug, Clone)]
pub struct FinishedResult {
    /// What is written.
    pub json: Bytes,
    /// Whether it is a success, which nothing replaces.
    pub succeeded: bool,
    /// How long it stays.
    pub ttl: Duration,
}

/// What became of the failure of a login that nobody was to have claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclaimed {
    /// It is the result now.
    Written,
    /// There was a result already.
    Recorded,
    /// Somebody has claimed the login, and may be asking or have missed an answer: claim it first.
    Claimed,
}

/// What became of a result that was to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is the result now.
    Written,
    /// There was one already that it may not replace.
    Kept,
    /// It is a failure, and someone else has claimed the login since: theirs to conclude.
    NotMine,
}

/// A code and the user it was submitted for, as digests: neither a code nor an openid can be read from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeDigest {
    /// Digest of the app and the code.
    pub code: String,
    /// Digest of the app, the code and what else the submissions of one code must agree on: the openid, or that there is
    /// none.
    pub subject: String,
}

/// What a code is bound to, after a submission of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// To the request of this submission.
    First,
    /// To the request of an earlier submission for the same subject.
    Repeated(RequestId),
    /// To the request of a submission for another subject. Its id is not this caller's to know.
    OtherSubject,
}

/// Whether a request id belongs to the code that it was submitted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It belongs to this code and subject.
    Ours,
    /// It belongs to this code for another subject.
    OtherSubject,
    /// It belongs to another code.
    OtherCode,
}

impl CodeDigest {
    /// What an id reserved for `earlier` is to this submission.
    fn reserved(&self, earlier: &Self) -> Reserved {
        match earlier {
            earlier if earlier == self => Reserved::Ours,
            earlier if earlier.code == self.code => Reserved::OtherSubject,
            _ => Reserved::OtherCode,
        }
    }

    /// What a code bound to `request_id` for the subject `earlier` is to this submission.
    fn bound(&self, earlier: &str, request_id: RequestId) -> Bound {
        if earlier == self.subject { Bound::Repeated(request_id) } else { Bound::OtherSubject }
    }
}

impl StoreAway {
    /// Why, without the words that it is away.
    pub fn why(&self) -> &str {
        &self.0
    }
}

impl Claimed {
    /// The claim of a worker that is gone, for its result. A success is written in anyone's name; a failure, unless
    /// somebody else has claimed the login since.
    pub fn formerly_of(owner: String) -> Self {
        Self { owner: owner.into(), asked: 0, unheard: false }
    }

    /// In whose name the login is claimed.
    pub fn owner(&self) -> &str {
        &self.owner
    }
}

impl Store {
    /// A store in this process.
    pub fn in_memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// A store in Redis. Connects in the background and for ever; until it has, every verb answers [`StoreAway`].
    pub fn redis(
        settings: &RedisSettings,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, BadStoreUrl> {
        redis::Redis::open(settings, tracker, stop).map(Self::Redis)
    }

    /// Whether the store takes a write: one that answers but is full or read-only is no use.
    pub async fn check_writable(&self) -> Result<(), StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("check_writable", &"", |_| ()).await,
            Self::Redis(redis) => redis.check_writable().await,
        }
    }

    /// Claims a login for `lease`, in the name of `owner`, which is unlike any other. What the claim says is remembered
    /// for `keep`, so that a successor learns of it. Claiming again in the same name is the same claim.
    pub async fn claim(
        &self,
        id: &RequestId,
        owner: &str,
        lease: Duration,
        keep: Duration,
    ) -> Result<Claim, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("claim", id, |memory| memory.claim(id, owner, lease, keep)).await,
            Self::Redis(redis) => redis.claim(id, owner, lease, keep).await,
        }
    }

    /// Renews the lease before asking for the `asked`-th time. False: the claim is someone else's now.
    pub async fn extend(
        &self,
        id: &RequestId,
        claimed: &Claimed,
        asked: u32,
        lease: Duration,
    ) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("extend", id, |memory| memory.extend(id, claimed, asked, lease)).await,
            Self::Redis(redis) => redis.extend(id, claimed, asked, lease).await,
        }
    }

    /// Gives a claim back, with what is known now, so that the next worker need not wait for the lease to run out.
    pub async fn release(&self, id: &RequestId, claimed: &Claimed, asked: u32, unheard: bool) -> Result<(), StoreAway> {
        match self {
            Self::Memory(memory) => {
                memory.reach("release", id, |memory| memory.release(id, claimed, asked, unheard)).await
            }
            Self::Redis(redis) => redis.release(id, claimed, asked, unheard).await,
        }
    }

    /// Records a result and frees the claim. A success replaces a failure; nothing replaces a success.
    pub async fn record(
        &self,
        id: &RequestId,
        claimed: &Claimed,
        result: &FinishedResult,
    ) -> Result<Recorded, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("record", id, |memory| memory.record(id, claimed, result)).await,
            Self::Redis(redis) => redis.record(id, claimed, result).await,
        }
    }

    /// Records the failure of a login that is not to be asked, if nobody has ever claimed it: claim and record in one.
    pub async fn record_unclaimed(&self, id: &RequestId, failure: &FinishedResult) -> Result<Unclaimed, StoreAway> {
        match self {
            Self::Memory(memory) => {
                memory.reach("record_unclaimed", id, |memory| memory.record_unclaimed(id, failure)).await
            }
            Self::Redis(redis) => redis.record_unclaimed(id, failure).await,
        }
    }

    /// The results of these logins, in order; none where there is none (yet), or where only this one's part of a cluster
    /// is away.
    pub async fn results(&self, ids: &[RequestId]) -> Result<Vec<Option<Bytes>>, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("results", &"", |memory| memory.results(ids)).await,
            Self::Redis(redis) => redis.results(ids).await,
        }
    }

    /// Reserves a request id for a code and its subject, unless it is reserved already.
    pub async fn reserve_id(&self, id: &RequestId, digest: &CodeDigest, life: Duration) -> Result<Reserved, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("reserve_id", id, |memory| memory.reserve_id(id, digest, life)).await,
            Self::Redis(redis) => redis.reserve_id(id, digest, life).await,
        }
    }

    /// Binds a code and its subject to a request, unless the code is bound already.
    pub async fn bind_code(&self, digest: &CodeDigest, id: &RequestId, life: Duration) -> Result<Bound, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("bind_code", id, |memory| memory.bind_code(digest, id, life)).await,
            Self::Redis(redis) => redis.bind_code(digest, id, life).await,
        }
    }

    /// Remembers that the queue has taken responsibility for a login.
    pub async fn mark_accepted(&self, id: &RequestId, life: Duration) -> Result<(), StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("mark_accepted", id, |memory| memory.mark_accepted(id, life)).await,
            Self::Redis(redis) => redis.mark_accepted(id, life).await,
        }
    }

    /// Whether the queue has taken responsibility for a login, as far as a gateway or a worker has noted.
    pub async fn is_accepted(&self, id: &RequestId) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("is_accepted", id, |memory| memory.is_accepted(id)).await,
            Self::Redis(redis) => redis.is_accepted(id).await,
        }
    }
}
