//! Logins that come back so often that they may be what ends each worker that has them in hand: concluded without asking,
//! so that they have a result all the same, and left to people.

use crate::clock;
use crate::login::{Failure, LoginRequest, Outcome};
use crate::queue::{Delivery, Returns};
use crate::store::Claimed;
use crate::verdict::{self, History};
use crate::worker::Worker;

/// What such a login's dead letter says. It has its result; nothing is to be replayed.
pub const WORN_OUT: &str = "it came back too often; it has its result";
/// What its result says.
const DETAIL: &str = "workers ended too often while they had it in hand; it is not asked any more";
/// Begun so often and never finished, a login that came back often is to blame. Others were only near: a worker that is
/// killed has fetched many that it has not looked at.
const BEGUN_TOO_OFTEN: u32 = 3;

impl Worker {
    /// Whether a login is to be concluded without asking. The claim tells how often it was begun.
    pub(super) fn is_worn_out(delivery: &Delivery, claimed: &Claimed) -> bool {
        match delivery.returns {
            Returns::Few => false,
            Returns::Many => claimed.asked >= BEGUN_TOO_OFTEN,
            Returns::Last => true,
        }
    }

    /// The outcome of one that is worn out: in doubt, if an earlier worker may have missed an answer.
    pub(super) fn give_up(&self, request: &LoginRequest, history: &History) -> Outcome {
        let too_old = clock::now_ms() >= self.time_up_at(request);
        match verdict::time_up(history, too_old) {
            Outcome::Failed(failure) => Outcome::Failed(Failure { detail: Some(DETAIL.to_owned()), ..failure }),
            outcome @ Outcome::Succeeded(_) => outcome,
        }
    }
}
