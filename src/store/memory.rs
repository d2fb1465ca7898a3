//! The store of one process: the same promises as Redis, in a map under a mutex. The verbs about tokens are in [`tokens`].

mod tokens;

use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::login::RequestId;
use crate::store::{Bound, Claim, Claimed, CodeDigest, FinishedResult, Recorded, Reserved, StoreAway, Unclaimed};
use tokens::TokenState;

/// A handle on the process's store; cheap to clone.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    distance: Option<Arc<dyn Distance>>,
}

/// What lies between a worker and a store in memory: nothing, unless a simulation puts something there.
pub trait Distance: Send + Sync {
    /// On the way there. False: the verb does not arrive, and the store is away.
    fn there(&self, verb: &'static str, key: &(dyn Display + Sync)) -> BoxFuture<'static, bool>;

    /// On the way back. False: the verb was carried out, but nobody hears the answer, and the store is away.
    fn back(&self, verb: &'static str, key: &(dyn Display + Sync), answer: &dyn Debug) -> BoxFuture<'static, bool>;
}

#[derive(Default)]
struct State {
    results: Expiring<RequestId, (Bytes, bool)>,
    claims: Expiring<RequestId, ClaimState>,
    accepted: Expiring<RequestId, ()>,
    /// By the code's digest: its subject, and its request.
    codes: Expiring<String, (String, RequestId)>,
    reserved: Expiring<RequestId, CodeDigest>,
    tokens: TokenState,
    /// What workers say of themselves.
    workers: Expiring<String, Bytes>,
}

/// What is known of who is asking.
struct ClaimState {
    owner: Arc<str>,
    asked: u32,
    until: Instant,
    /// Whether an earlier answer was missed.
    unheard: bool,
    /// Whether the owner gave the claim back, and said so itself.
    returned: bool,
}

impl Memory {
    /// The same store as it is seen across a distance.
    pub fn at(&self, distance: Arc<dyn Distance>) -> Self {
        Self { state: Arc::clone(&self.state), distance: Some(distance) }
    }

    /// Carries out a verb, across the distance where there is one.
    pub(super) async fn reach<T: Debug>(
        &self,
        verb: &'static str,
        key: &(dyn Display + Sync),
        carry_out: impl FnOnce(&Self) -> T,
    ) -> Result<T, StoreAway> {
        let Some(distance) = &self.distance else { return Ok(carry_out(self)) };
        if !distance.there(verb, key).await {
            return Err(StoreAway("it is out of reach".into()));
        }
        let answer = carry_out(self);
        match distance.back(verb, key, &answer).await {
            true => Ok(answer),
            false => Err(StoreAway("its answer was lost on the way".into())),
        }
    }

    pub(super) fn claim(&self, id: &RequestId, owner: &str, lease: Duration, keep: Duration) -> Claim {
        let now = Instant::now();
        let mut state = self.state();
        if state.results.get(id).is_some() {
            return Claim::Recorded;
        }
        let (asked, unheard) = match state.claims.get(id) {
            None => (0, false),
            // The same claim once more: its answer was lost on the way, and nobody has asked yet.
            Some(earlier) if *earlier.owner == *owner => (earlier.asked - 1, earlier.unheard),
            Some(earlier) if earlier.until > now => return Claim::Held { left: earlier.until - now },
            // One that ran out may have missed an answer; one that was given back has said so itself.
            Some(earlier) => (earlier.asked, earlier.unheard || !earlier.returned),
        };
        let (owner, until): (Arc<str>, _) = (owner.into(), now + lease);
        let claim = ClaimState { owner: Arc::clone(&owner), asked: asked + 1, until, unheard, returned: false };
        state.claims.put(id.clone(), claim, keep);
        Claim::Mine(Claimed { owner, asked, unheard })
    }

    pub(super) fn extend(&self, id: &RequestId, claimed: &Claimed, asked: u32, lease: Duration) -> bool {
        let mut state = self.state();
        let Some(claim) = state.claims.get_mut(id).filter(|claim| claim.owner == claimed.owner) else { return false };
        claim.asked = asked;
        claim.until = Instant::now() + lease;
        true
    }

    pub(super) fn release(&self, id: &RequestId, claimed: &Claimed, asked: u32, unheard: bool) {
        let mut state = self.state();
        let Some(claim) = state.claims.get_mut(id).filter(|claim| claim.owner == claimed.owner) else { return };
        *claim = ClaimState { owner: "".into(), asked, until: Instant::now(), unheard, returned: true };
    }

    pub(super) fn record(&self, id: &RequestId, claimed: &Claimed, result: &FinishedResult) -> Recorded {
        let mut state = self.state();
        match state.results.get(id) {
            Some((_, true)) => return Recorded::Kept,
            Some((_, false)) if !result.succeeded => return Recorded::Kept,
            _ => {}
        }
        let mine = state.claims.get(id).is_none_or(|claim| claim.owner == claimed.owner);
        if !mine && !result.succeeded {
            return Recorded::NotMine;
        }
        state.results.put(id.clone(), (result.json.clone(), result.succeeded), result.ttl);
        state.claims.remove(id);
        Recorded::Written
    }

    pub(super) fn record_unclaimed(&self, id: &RequestId, failure: &FinishedResult) -> Unclaimed {
        let mut state = self.state();
        if state.results.get(id).is_some() {
            return Unclaimed::Recorded;
        }
        if state.claims.get(id).is_some() {
            return Unclaimed::Claimed;
        }
        state.results.put(id.clone(), (failure.json.clone(), failure.succeeded), failure.ttl);
        Unclaimed::Written
    }

    pub(super) fn results(&self, ids: &[RequestId]) -> Vec<Option<Bytes>> {
        let state = self.state();
        ids.iter().map(|id| state.results.get(id).map(|(json, _)| json.clone())).collect()
    }

    pub(super) fn reserve_id(&self, id: &RequestId, digest: &CodeDigest, life: Duration) -> Reserved {
        let mut state = self.state();
        if let Some(earlier) = state.reserved.get(id) {
            return digest.reserved(earlier);
        }
        state.reserved.put(id.clone(), digest.clone(), life);
        Reserved::Ours
    }

    pub(super) fn bind_code(&self, digest: &CodeDigest, id: &RequestId, life: Duration) -> Bound {
        let mut state = self.state();
        if let Some((subject, request_id)) = state.codes.get(digest.code.as_str()) {
            return digest.bound(subject, request_id.clone());
        }
        state.codes.put(digest.code.clone(), (digest.subject.clone(), id.clone()), life);
        Bound::First
    }

    pub(super) fn mark_accepted(&self, id: &RequestId, life: Duration) {
        self.state().accepted.put(id.clone(), (), life);
    }

    pub(super) fn is_accepted(&self, id: &RequestId) -> bool {
        let state = self.state();
        state.accepted.get(id).is_some() || state.claims.get(id).is_some()
    }

    pub(super) fn note_worker(&self, worker: &str, json: Bytes, life: Duration) {
        self.state().workers.put(worker.to_owned(), json, life);
    }

    pub(super) fn workers(&self) -> Vec<Bytes> {
        let now = Instant::now();
        self.state().workers.entries.values().filter(|(_, ends)| *ends > now).map(|(json, _)| json.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no verb panics half-way")
    }
}

/// A map whose entries end. What has ended is swept when the map has doubled since the last sweep.
struct Expiring<K, V> {
    entries: HashMap<K, (V, Instant)>,
    sweep_at: usize,
}

impl<K: Eq + Hash, V> Expiring<K, V> {
    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(key).filter(|(_, ends)| *ends > Instant::now()).map(|(value, _)| value)
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).filter(|(_, ends)| *ends > Instant::now()).map(|(value, _)| value)
    }

    fn put(&mut self, key: K, value: V, life: Duration) {
        let now = Instant::now();
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, (_, ends)| *ends > now);
            self.sweep_at = (self.entries.len() * 2).max(1024);
        }
        self.entries.insert(key, (value, now + life));
    }

    fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: 1024 }
    }
}
