//! From a delivery to a login that may ask, or is not to: decoding, and waiting for a slot. Nothing is claimed here.

use std::panic::catch_unwind;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::login::{LoginRequest, RequestId, Undecodable, UnixMs};
use crate::queue::{Delivery, Returns};
use crate::stop_point::StopPoint;
use crate::verdict;
use crate::worker::Worker;
use crate::worker::shares::{Shares, Slot, Standing, Waiting};
use crate::worker::unasked::Unasked;

/// The patience of one that waits for its turn may stand still, and is looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A delivery that has been looked at.
pub(super) enum Arrived {
    /// Nobody can be told of it.
    Nobodys {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A login whose result this worker has recorded, and whose ack was lost.
    Recorded(RequestId),
    /// A login, and where it stands.
    Login(Login, Standing),
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
    /// It may, in this slot.
    Ask(Slot),
    /// It is answered without asking.
    Unasked(Unasked),
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
        let (id, request) = match read(&delivery.body) {
            Ok(request) => (request.request_id.clone(), Ok(dated(request, delivery.timestamp))),
            Err(Undecodable::Invalid { request_id, problem }) => (request_id, Err(problem)),
            Err(Undecodable::Unkeyed { problem }) => return Some(Arrived::Nobodys { problem }),
        };
        if delivery.redelivered && self.0.recent.has(&id) {
            return Some(Arrived::Recorded(id));
        }
        let standing = match &request {
            Err(_) => Standing::Unasked(Unasked::Unservable),
            Ok(_) if delivery.returns == Returns::Last => Standing::Unasked(Unasked::WornOut),
            Ok(request) => tokio::select! {
                biased;
                () = soft.cancelled() => return None,
                standing = self.enter(request, shares) => standing,
            },
        };
        Some(Arrived::Login(Login { id, request, since }, standing))
    }

    async fn enter(&self, request: &LoginRequest, shares: &Shares) -> Standing {
        let tokens = &self.0.tokens;
        let Some(app) = tokens.app(request.appid.as_ref()) else { return Standing::Unasked(Unasked::Unservable) };
        shares.enter(app.appid(), tokens.is_only_one(), Instant::now() + self.time_left(request)).await
    }

    /// Waits for the login's turn, if it has to. None: the soft stop came first.
    pub(super) async fn turn(&self, login: &Login, standing: Standing, soft: &CancellationToken) -> Option<Turn> {
        match standing {
            Standing::Slot(slot) => Some(Turn::Ask(slot)),
            Standing::Unasked(why) => Some(Turn::Unasked(why)),
            // In a box, since most have no use for it.
            Standing::Room(waiting) => Box::pin(self.wait(login, waiting, soft)).await,
        }
    }

    /// No longer than it would be asked again and again; what does not count is the time in which it is not WeChat that
    /// the logins before it wait for.
    async fn wait(&self, login: &Login, waiting: Waiting, soft: &CancellationToken) -> Option<Turn> {
        let time_left = || login.request.as_ref().map_or(Duration::ZERO, |request| self.time_left(request));
        let wechats_time = waiting.wechats_time();
        let mut turn = pin!(waiting.turn());
        loop {
            let (left, patience) = (time_left(), self.0.limits.patience.saturating_sub(wechats_time.so_far()));
            tokio::select! {
                biased;
                () = soft.cancelled() => return None,
                slot = &mut turn => return Some(match slot.is_too_late(time_left()) {
                    true => Turn::Unasked(Unasked::TooLate),
                    false => Turn::Ask(slot),
                }),
                () = sleep(left.min(patience.max(LOOK_EVERY))) => {}
            }
            if time_left().is_zero() || wechats_time.so_far() >= self.0.limits.patience {
                self.0.meters.declined();
                return Some(Turn::Unasked(Unasked::Declined));
            }
        }
    }

    pub(super) fn time_left(&self, request: &LoginRequest) -> Duration {
        let now_ms = clock::now_ms();
        Duration::from_millis(self.time_up_at(request, now_ms).saturating_sub(now_ms))
    }

    pub(super) fn time_up_at(&self, request: &LoginRequest, now_ms: UnixMs) -> UnixMs {
        verdict::time_up_at(request, None, now_ms, self.0.limits.code_life)
    }
}

/// A body that makes the reading panic must not end the line.
fn read(body: &[u8]) -> Result<LoginRequest, Undecodable> {
    let reading = || {
        StopPoint::Taken.reached();
        LoginRequest::decode(body)
    };
    catch_unwind(reading).unwrap_or(Err(Undecodable::Unkeyed { problem: "reading it panicked" }))
}

/// The same request with the time that its life is counted from, so that waiting does not move it.
fn dated(request: LoginRequest, timestamp: Option<UnixMs>) -> LoginRequest {
    let now_ms = clock::now_ms();
    let issued_at = request.issued_at.or(timestamp).map_or(now_ms, |issued_at| issued_at.min(now_ms));
    LoginRequest { issued_at: Some(issued_at), ..request }
}
