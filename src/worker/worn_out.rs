//! Logins that come back so often that they may be what ends each worker that has them in hand: concluded without asking,
//! so that they have a result all the same, and left to people.

use crate::queue::Returns;
use crate::store::Claimed;
use crate::worker::walk::Walk;

/// What such a login's dead letter says. It has its result; nothing is to be replayed.
pub const WORN_OUT: &str = "it came back too often; it has its result";
/// Begun so often and never finished, a login that came back often is to blame. Others were only near: a worker that is
/// killed has fetched many that it has not looked at.
const BEGUN_TOO_OFTEN: u32 = 3;

impl Walk<'_> {
    /// Whether the login is to be concluded without asking. The claim tells how often it was begun.
    pub(super) fn is_worn_out(&self, claimed: &Claimed) -> bool {
        match self.delivery.returns {
            Returns::Few => false,
            Returns::Many => claimed.asked >= BEGUN_TOO_OFTEN,
            Returns::Last => true,
        }
    }
}
