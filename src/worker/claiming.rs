//! The claim on a login: had before anything is asked, kept for as long as that lasts, given back at a hard stop. While
//! its lease lasts, nobody else asks.

use std::convert::Infallible;
use std::future::pending;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::login::RequestId;
use crate::store::{Claim, Claimed, StoreAway};
use crate::verdict::History;
use crate::worker::{Worker, store_away};

/// A lease outlasts the longest call by this much: time to send the call and to record its answer.
const LEASE_MARGIN: Duration = Duration::from_millis(1500);
/// What must be left of a lease after the longest call: time to record its answer.
const RECORDING: Duration = Duration::from_millis(500);
/// A login that waits renews its lease when so much is left of it.
const RENEWED_AT: Duration = Duration::from_secs(1);
/// What a claim says is remembered for so long after the code's life.
const CLAIM_KEPT_AFTER: Duration = Duration::from_secs(60);
/// How often a worker looks whether the one that is asking has finished.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The pause while the store is away and the lease has to be renewed.
pub(super) const STORE_PAUSE: Duration = Duration::from_millis(250);

/// A claim that is ours, until its lease has run out.
pub(super) struct Lease<'a> {
    pub(super) claimed: Claimed,
    worker: &'a Worker,
    id: &'a RequestId,
    until: Instant,
}

/// Whether the claim still keeps others from asking.
pub(super) enum Hold {
    Held,
    StoreAway,
    Lost,
}

impl Worker {
    /// Claims the login, however long it takes. None: it has its result already.
    pub(super) async fn claim<'a>(&'a self, id: &'a RequestId) -> Option<Lease<'a>> {
        let keep = self.0.limits.code_life + CLAIM_KEPT_AFTER;
        // One name for all tries: a claim whose answer was lost on the way is this worker's own.
        let owner = new_owner();
        let mut failures = 0;
        loop {
            let began = Instant::now();
            match self.0.store.claim(id, &owner, self.lease(), keep).await {
                Ok(Claim::Mine(claimed)) => {
                    return Some(Lease { claimed, worker: self, id, until: began + self.lease() });
                }
                Ok(Claim::Recorded) => return None,
                Ok(Claim::Held { left }) => sleep(left.min(LOOK_EVERY)).await,
                Err(fault) => store_away(id, &fault, &mut failures).await,
            }
        }
    }

    fn lease(&self) -> Duration {
        self.0.client.timeout() + LEASE_MARGIN
    }
}

impl Lease<'_> {
    /// Makes sure that nobody else asks while the next call lasts, `asked` being those before it. The claim's own first
    /// one is covered by the claim itself.
    pub(super) async fn hold(&mut self, asked: u32) -> Hold {
        if asked == self.claimed.asked && self.lasts_for_a_call() {
            return Hold::Held;
        }
        match self.renew(asked + 1).await {
            Ok(true) if self.lasts_for_a_call() => Hold::Held,
            // A store that took so long to answer is as good as away: somebody else may ask before the call is over.
            Ok(true) | Err(_) => Hold::StoreAway,
            Ok(false) => Hold::Lost,
        }
    }

    /// Renews the lease for as long as this is polled: a login that only waits would look like one whose worker died in
    /// the middle of a call, and somebody else would take it over, in doubt.
    pub(super) async fn keep(&mut self, asked: u32) -> Infallible {
        // The claim itself counts as one.
        let asked = asked.max(self.claimed.asked + 1);
        loop {
            sleep_until(self.until - RENEWED_AT).await;
            match self.renew(asked).await {
                Ok(true) => {}
                // Somebody else's by now? That is found out before the next asking.
                Ok(false) => pending().await,
                Err(_) => sleep(STORE_PAUSE).await,
            }
        }
    }

    /// Gives the claim back with what is known now. If the store is away, it runs out by itself.
    pub(super) async fn give_back(&self, history: &History) {
        let _ = self.worker.0.store.release(self.id, &self.claimed, history.asked, history.unheard).await;
    }

    /// False: it is someone else's now.
    async fn renew(&mut self, asked: u32) -> Result<bool, StoreAway> {
        let (began, lease) = (Instant::now(), self.worker.lease());
        let is_ours = self.worker.0.store.extend(self.id, &self.claimed, asked, lease).await?;
        if is_ours {
            self.until = began + lease;
        }
        Ok(is_ours)
    }

    fn lasts_for_a_call(&self) -> bool {
        let left = self.until.duration_since(Instant::now());
        left > self.worker.0.client.timeout() + RECORDING
    }
}

/// In whose name a login is claimed: the random half of this process's own UUID, and which of its claims it is. A UUID
/// for each would be a system call for each.
fn new_owner() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| uuid::Uuid::now_v7().as_u64_pair().1);
    static CLAIMS: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}-{:x}", *PROCESS, CLAIMS.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_claim_has_an_owner_of_its_own_that_tells_the_process() {
        let owners: HashSet<_> = (0..1000).map(|_| new_owner()).collect();
        assert_eq!(owners.len(), 1000);
        let processes: HashSet<_> = owners.iter().filter_map(|owner| owner.split_once('-')).map(|(of, _)| of).collect();
        assert!(processes.len() == 1 && processes.iter().all(|process| process.len() == 16), "{processes:?}");
    }
}
