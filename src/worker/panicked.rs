//! A login whose walk panicked, which is a bug of ours: it has its result all the same, and no other login feels it.
//!
//! It is concluded at once. Walked again, here or by another worker, it would most likely panic again, with its user
//! waiting all the while, and end as a dead letter without a result. Where the panic was is the hook's to tell
//! (`telemetry`).

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::login::Reason;
use crate::queue::{Delivery, Settlement};
use crate::store::Claimed;
use crate::verdict::History;
use crate::worker::arriving::Login;
use crate::worker::{Worker, unasked};

/// What its result says.
const BUG: &str = "the worker met a bug of its own; its log says where";

/// How far a login has walked, also where it went no further.
#[derive(Default)]
pub(super) struct Walked {
    /// Its last claim.
    pub(super) claimed: Option<Claimed>,
    pub(super) history: History,
}

impl Worker {
    /// Answers a login whose walk panicked. Whatever was asked since its claim may have spent the code.
    pub(super) async fn conclude_panicked(
        &self,
        delivery: &Delivery,
        login: &Login,
        Walked { claimed, mut history }: Walked,
        hard: &CancellationToken,
    ) -> Settlement {
        self.0.meters.panicked();
        let appid = login.request.as_ref().ok().and_then(|request| request.appid.as_ref());
        error!(request_id = %login.id, appid = appid.map(tracing::field::display), "a login's walk panicked");
        let claimed = match claimed {
            Some(claimed) => claimed,
            None => match self.claim(&login.id).await {
                Some((claimed, _)) => claimed,
                None => return Settlement::Ack,
            },
        };
        history.learn(claimed.asked, claimed.unheard);
        let in_doubt = history.unheard || history.asked > claimed.asked;
        let reason = if in_doubt { Reason::InDoubt } else { Reason::Unavailable };
        self.finish(delivery, login, &claimed, unasked(reason, BUG), history.asked, hard).await
    }
}

/// None: it panicked. What a login shares with others is behind locks whose verbs do not panic half-way; the rest is
/// dropped here, but for [`Walked`], in which a claim may be noted or not.
pub(super) async fn catch_panic<T>(walking: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(walking).catch_unwind().await.ok()
}
