//! From a delivery to a login that may ask, or is not to: decoding, and waiting for a slot. Nothing is claimed here.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::login::{Failure, LoginRequest, Outcome, RequestId, Undecodable, UnixMs};
use crate::queue::Delivery;
use crate::verdict::{self, History};
use crate::worker::Worker;
use crate::worker::shares::{Shares, Slot, Standing};

/// What a declined login's result says.
const SHARE_TAKEN: &str = "the app's share of this worker is taken by logins that wait for WeChat";

/// The patience of one that waits for its turn may stand still, and is looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A delivery that has been looked at.
pub(super) enum Arrived {
    /// Nobody can be told of it.
    Nobodys {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A login, and where it stands; it stands nowhere if WeChat is not to be asked anyway.
    Login(Login, Option<Standing>),
}

/// A login that has an id, and so will have a result.
pub(super) struct Login {
    pub(super) id: RequestId,
    /// What is wrong with it where it is no request.
    pub(super) request: Result<LoginRequest, String>,
    /// When it was taken in hand.
    pub(super) since: Instant,
}

/// Whether a login may ask.
pub(super) enum Turn {
    /// It may; in this slot, if it asks at all.
    Ask(Option<Slot>),
    /// It is answered without asking, for the sake of other apps.
    Declined,
}

impl Worker {
    /// Looks at a delivery and tells its login where it stands, which may take a moment: the line is stopped meanwhile.
    /// None: the soft stop came first.
    pub(super) async fn arrive(
        &self,
        delivery: &Delivery,
        shares: &Shares,
        soft: &CancellationToken,
    ) -> Option<Arrived> {
        let since = Instant::now();
        let (id, request) = match LoginRequest::decode(&delivery.body) {
            Ok(request) => (request.request_id.clone(), Ok(dated(request, delivery.timestamp))),
            Err(Undecodable::Invalid { request_id, problem }) => (request_id, Err(problem)),
            Err(Undecodable::Unkeyed { problem }) => return Some(Arrived::Nobodys { problem }),
        };
        let tokens = &self.0.tokens;
        let standing = match request.as_ref().ok().and_then(|request| tokens.app(request.appid.as_ref())) {
            None => None,
            Some(app) => tokio::select! {
                biased;
                () = soft.cancelled() => return None,
                standing = shares.enter(app.appid(), tokens.is_only_one()) => Some(standing),
            },
        };
        Some(Arrived::Login(Login { id, request, since }, standing))
    }

    /// Waits for the login's turn, no longer than it would be asked again and again; what does not count is the time in
    /// which it is not WeChat that the logins before it wait for. None: the soft stop came first.
    pub(super) async fn turn(
        &self,
        login: &Login,
        standing: Option<Standing>,
        soft: &CancellationToken,
    ) -> Option<Turn> {
        let waiting = match standing {
            None => return Some(Turn::Ask(None)),
            Some(Standing::Slot(slot)) => return Some(Turn::Ask(Some(slot))),
            Some(Standing::Declined) => return Some(Turn::Declined),
            Some(Standing::Room(waiting)) => waiting,
        };
        let wechats_time = waiting.wechats_time();
        let mut turn = pin!(waiting.turn());
        loop {
            let left = login.request.as_ref().map_or(Duration::ZERO, |request| self.time_left(request));
            let patience = self.0.limits.patience.saturating_sub(wechats_time.so_far());
            if left.is_zero() || patience.is_zero() {
                return Some(Turn::Declined);
            }
            tokio::select! {
                biased;
                () = soft.cancelled() => return None,
                slot = &mut turn => return Some(Turn::Ask(Some(slot))),
                () = sleep(left.min(patience.max(LOOK_EVERY))) => {}
            }
        }
    }

    fn time_left(&self, request: &LoginRequest) -> Duration {
        Duration::from_millis(self.time_up_at(request).saturating_sub(clock::now_ms()))
    }

    /// The outcome of a login that is declined. An earlier worker may have asked for it, and missed the answer.
    pub(super) fn decline(&self, request: &LoginRequest, history: &History) -> Outcome {
        self.0.meters.declined();
        let too_old = clock::now_ms() >= self.time_up_at(request);
        match verdict::time_up(history, too_old) {
            Outcome::Failed(failure) if !too_old => {
                Outcome::Failed(Failure { detail: Some(SHARE_TAKEN.to_owned()), ..failure })
            }
            outcome => outcome,
        }
    }

    fn time_up_at(&self, request: &LoginRequest) -> UnixMs {
        verdict::time_up_at(request, None, clock::now_ms(), self.0.limits.code_life)
    }
}

/// The same request with the time that its life is counted from, so that waiting does not move it.
fn dated(request: LoginRequest, timestamp: Option<UnixMs>) -> LoginRequest {
    let now_ms = clock::now_ms();
    let issued_at = request.issued_at.or(timestamp).map_or(now_ms, |issued_at| issued_at.min(now_ms));
    LoginRequest { issued_at: Some(issued_at), ..request }
}
