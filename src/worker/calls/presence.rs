//! Whether WeChat is there at all. While it is away, one login asks for all apps, so that the codes of the others are not
//! spent in vain.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::breaker::{Breaker, Permit};
use crate::connect_fault;
use crate::fault_log::FaultLog;
use crate::login::WechatAnswer;
use crate::meters::Meters;
use crate::verdict::{StopCause, Stopped};

/// So many answers in a row that are none, of whatever app, and WeChat is away.
const NO_ANSWERS: u32 = 20;
/// WeChat comes back by itself, and nobody should wait long for that.
const AWAY: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(1) };

/// What all apps of a worker have heard.
#[derive(Default)]
pub(super) struct Presence {
    breaker: Breaker<Stopped>,
    no_answers: AtomicU32,
    /// Of this machine.
    faults: FaultLog,
}

impl Presence {
    pub(super) fn permit(&self, now: Instant) -> Permit<'_, Stopped> {
        self.breaker.permit(now)
    }

    pub(super) fn open(&self, now: Instant) -> Option<(Stopped, Duration)> {
        self.breaker.open(now)
    }

    /// WeChat has answered.
    pub(super) fn answer(&self, meters: &Meters) {
        self.no_answers.store(0, Ordering::Relaxed);
        if let Some(lasted) = self.faults.ended() {
            info!(lasted_s = lasted.as_secs(), "this machine connects to WeChat again");
        }
        if self.breaker.close() {
            meters.wechat_away(false);
            info!("WeChat answers again");
        }
    }

    /// It was not asked, for want of something on this machine, which says nothing of WeChat.
    pub(super) fn unasked(&self, lack: &'static str) {
        if let Some(suppressed) = self.faults.failed(lack) {
            let hint = connect_fault::hint(lack);
            warn!(hint, suppressed, "{lack}: this machine cannot connect to WeChat; logins try again");
        }
    }

    /// It has not, or was too busy to, which is all that `answer` says; a probe's miss counts at once.
    pub(super) fn miss(&self, answer: Option<WechatAnswer>, probed: bool, meters: &Meters) {
        let in_a_row = self.no_answers.fetch_add(1, Ordering::Relaxed) + 1;
        let times = self.breaker.times();
        if !probed && (in_a_row < NO_ANSWERS || times > 0) {
            return;
        }
        if times == 0 {
            meters.wechat_away(true);
            warn!("WeChat is away: one login after the other finds out when it is back, and the others wait");
        }
        let pause = AWAY.pause(times, fastrand::f64());
        self.breaker.trip(Stopped { answer, cause: StopCause::Away }, times + 1, Instant::now() + pause);
    }
}
