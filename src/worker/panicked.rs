//! A login whose walk panicked, which is a bug of ours: it has its result all the same, and no other login feels it.
//!
//! It is concluded at once. Walked again, here or by another worker, it would most likely panic again, with its user
//! waiting all the while, and end as a dead letter without a result. Where the panic was is the hook's to tell
//! (`telemetry`).

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tracing::error;

use crate::login::Reason;
use crate::queue::Settlement;
use crate::worker::unasked::failed;
use crate::worker::walk::Walk;

/// What its result says.
const BUG: &str = "the worker met a bug of its own; its log says where";

impl Walk<'_> {
    /// Answers a login whose walk panicked. Whatever was asked since its claim may have spent the code.
    pub(super) async fn conclude_panicked(&mut self) -> Settlement {
        self.worker.0.meters.panicked();
        let appid = self.login.request.as_ref().ok().and_then(|request| request.appid.as_ref());
        error!(request_id = %self.login.id, appid = appid.map(tracing::field::display), "a login's walk panicked");
        let claimed = match self.claimed.take() {
            Some(claimed) => claimed,
            None => match self.worker.claim(&self.login.id).await {
                Some(lease) => lease.claimed,
                None => return Settlement::Ack,
            },
        };
        self.history.learn(claimed.asked, claimed.unheard);
        let in_doubt = self.history.unheard || self.history.asked > claimed.asked;
        let reason = if in_doubt { Reason::InDoubt } else { Reason::Unavailable };
        self.finish(&claimed, failed(reason, BUG)).await
    }
}

/// None: it panicked. What a login shares with others is behind locks whose verbs do not panic half-way; the rest is
/// dropped here, but for the [`Walk`], in which a claim may be noted or not.
pub(super) fn catch_panic<T>(walking: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    // No async fn: that would have room for the walk twice.
    AssertUnwindSafe(walking).catch_unwind().map(Result::ok)
}
