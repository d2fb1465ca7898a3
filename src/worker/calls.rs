//! What WeChat lets each app do at the moment, as this worker has heard: an app that WeChat serves no calls is not asked
//! for again and again, and one that calls too often pauses. The other apps feel nothing of it. What an answer says of its
//! app is in `sign`, and whether WeChat is there at all in `presence`.
//!
//! One answer proves nothing, since it may be about one odd code; several in a row do.

mod presence;
mod sign;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use presence::Presence;
use sign::Sign;

use crate::backoff::Backoff;
use crate::breaker::{Breaker, Permit, Probe};
use crate::clock;
use crate::login::{AppId, UnixMs};
use crate::meters::Meters;
use crate::verdict::Stopped;
use crate::wechat::{Fault, Reply};

/// So many answers in a row with the same errcode stop an app.
const SAME_ANSWERS: u32 = 3;

/// Every app that was asked for, and WeChat itself.
#[derive(Default)]
pub struct Calls {
    apps: Mutex<HashMap<AppId, Arc<AppCalls>>>,
    wechat: Arc<Presence>,
}

/// One app.
#[derive(Default)]
pub(super) struct AppCalls {
    breaker: Breaker<Stopped>,
    lately: Mutex<Lately>,
    wechat: Arc<Presence>,
}

/// The right to ask, and what it is to find out by that.
pub(super) struct Probes<'a> {
    app: Option<Probe<'a, Stopped>>,
    wechat: Option<Probe<'a, Stopped>>,
}

/// The errcode that an app hears again and again.
#[derive(Default)]
struct Lately {
    errcode: i64,
    times: u32,
}

impl Calls {
    /// Asks for every app again: whoever has mended something wants to see it tried. An app that logins in hand ask for
    /// stays the one that others ask for, too: stopped by itself, it would be counted as stopped for ever.
    pub(super) fn forget(&self, meters: &Meters) {
        let mut apps = self.apps.lock().expect("nothing panics while holding it");
        let stopped = apps.values().filter(|calls| calls.begin_anew()).count();
        meters.app_stopped(-(stopped as i64));
        apps.retain(|_, calls| Arc::strong_count(calls) > 1);
    }

    /// The apps that no calls are made for, why, and when a call may try whether it is over, in Unix ms.
    pub fn stopped(&self) -> Vec<(AppId, Stopped, UnixMs)> {
        let apps = self.apps.lock().expect("nothing panics while holding it");
        let open = |(appid, calls): (&AppId, &Arc<AppCalls>)| {
            let (stopped, until) = when(calls.breaker.open(Instant::now()))?;
            Some((appid.clone(), stopped, until))
        };
        apps.iter().filter_map(open).collect()
    }

    /// The same of WeChat itself.
    pub fn away(&self) -> Option<(Stopped, UnixMs)> {
        when(self.wechat.open(Instant::now()))
    }

    pub(super) fn of(&self, appid: &AppId) -> Arc<AppCalls> {
        let mut apps = self.apps.lock().expect("nothing panics while holding it");
        if let Some(calls) = apps.get(appid) {
            return Arc::clone(calls);
        }
        let calls = Arc::new(AppCalls { wechat: Arc::clone(&self.wechat), ..AppCalls::default() });
        apps.insert(appid.clone(), Arc::clone(&calls));
        calls
    }
}

impl AppCalls {
    /// Whether to ask now; else why not, and how much later one may.
    pub(super) fn permit(&self) -> Result<Probes<'_>, (Stopped, Duration)> {
        let now = Instant::now();
        let app = granted(self.breaker.permit(now))?;
        let wechat = granted(self.wechat.permit(now))?;
        Ok(Probes { app, wechat })
    }

    /// Takes note of an answer; that of a probe counts at once.
    pub(super) fn hear(&self, appid: &AppId, answer: &Result<Reply, Fault>, probes: &Probes<'_>, meters: &Meters) {
        let sign = Sign::of(answer);
        if let Sign::Away(last) = sign {
            return self.wechat.miss(last, probes.wechat.is_some(), meters);
        }
        if let Sign::Local(lack) = sign {
            return self.wechat.unasked(lack);
        }
        self.wechat.answer(meters);
        match sign {
            Sign::Nothing | Sign::Away(_) | Sign::Local(_) => {}
            Sign::Served => self.serve(appid, meters),
            Sign::Stopped(stopped, pauses) => self.stop(appid, stopped, pauses, probes.app.is_some(), meters),
        }
    }

    /// Says whether it was stopped.
    fn begin_anew(&self) -> bool {
        self.lately().times = 0;
        self.breaker.close()
    }

    fn serve(&self, appid: &AppId, meters: &Meters) {
        if self.begin_anew() {
            meters.app_stopped(-1);
            info!(%appid, "WeChat serves this app again");
        }
    }

    fn stop(&self, appid: &AppId, stopped: Stopped, pauses: Backoff, probed: bool, meters: &Meters) {
        let errcode = stopped.errcode();
        let again = self.again(errcode);
        let before = self.breaker.times();
        if !probed && (again < SAME_ANSWERS || before > 0) {
            return;
        }
        let pause = pauses.pause(before, fastrand::f64());
        if before == 0 {
            meters.app_stopped(1);
            let pause_ms = pause.as_millis() as u64;
            warn!(%appid, errcode, pause_ms, "WeChat does not serve this app: its logins are told so unasked, but for one now and then");
        }
        self.breaker.trip(stopped, before + 1, Instant::now() + pause);
    }

    /// How often in a row this errcode was heard.
    fn again(&self, errcode: i64) -> u32 {
        let mut lately = self.lately();
        let times = if lately.errcode == errcode { lately.times.saturating_add(1) } else { 1 };
        *lately = Lately { errcode, times };
        times
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().expect("nothing panics while holding it")
    }
}

fn when(open: Option<(Stopped, Duration)>) -> Option<(Stopped, UnixMs)> {
    open.map(|(stopped, left)| (stopped, clock::now_ms() + left.as_millis() as UnixMs))
}

fn granted(permit: Permit<'_, Stopped>) -> Result<Option<Probe<'_, Stopped>>, (Stopped, Duration)> {
    match permit {
        Permit::Go => Ok(None),
        Permit::Probe(probe) => Ok(Some(probe)),
        Permit::Stopped { fault, left } => Err((fault, left)),
    }
}

#[cfg(test)]
mod tests;
