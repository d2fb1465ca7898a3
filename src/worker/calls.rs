//! What WeChat lets each app do at the moment, as this worker has heard: an app that WeChat serves no calls is not asked
//! for again and again, and one that calls too often pauses. The other apps feel nothing of it.
//!
//! One answer proves nothing, since it may be about one odd code; the same answer three times in a row does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::breaker::{Breaker, Permit, Probe};
use crate::login::AppId;
use crate::meters::Meters;
use crate::verdict::Stopped;
use crate::wechat::errcode;
use crate::wechat::{Fault, Reply};

/// So many answers in a row with the same errcode stop an app.
const SAME_ANSWERS: u32 = 3;
/// Only an operator ends it; a probe now and then finds out.
const NOT_SERVED: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
/// 45011, HTTP 429: the quota of a minute. Short enough that a waiting login may still make it.
const MINUTE_QUOTA: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
/// 45009: the quota of a day.
const DAY_QUOTA: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(60) };

/// Every app that was asked for.
#[derive(Default)]
pub struct Calls(Mutex<HashMap<AppId, Arc<AppCalls>>>);

/// One app.
#[derive(Default)]
pub(super) struct AppCalls {
    breaker: Breaker<Stopped>,
    lately: Mutex<Lately>,
}

/// The errcode that an app hears again and again.
#[derive(Default)]
struct Lately {
    errcode: i64,
    times: u32,
}

/// What an answer says of the app, beyond its login.
enum Sign {
    Served,
    Stopped(Stopped, Backoff),
    Nothing,
}

impl Calls {
    /// Asks for every app again: whoever has mended something wants to see it tried.
    pub(super) fn forget(&self, meters: &Meters) {
        let apps = std::mem::take(&mut *self.0.lock().expect("nothing panics while holding it"));
        let stopped = apps.values().filter(|calls| calls.breaker.close()).count();
        meters.app_stopped(-(stopped as i64));
    }

    pub(super) fn of(&self, appid: &AppId) -> Arc<AppCalls> {
        let mut apps = self.0.lock().expect("nothing panics while holding it");
        match apps.get(appid) {
            Some(calls) => Arc::clone(calls),
            None => Arc::clone(apps.entry(appid.clone()).or_default()),
        }
    }
}

impl AppCalls {
    pub(super) fn permit(&self) -> Permit<'_, Stopped> {
        self.breaker.permit(Instant::now())
    }

    /// Takes note of an answer; that of a probe counts at once.
    pub(super) fn hear(
        &self,
        appid: &AppId,
        answer: &Result<Reply, Fault>,
        probe: Option<&Probe<'_, Stopped>>,
        meters: &Meters,
    ) {
        match sign(answer) {
            Sign::Nothing => {}
            Sign::Served => {
                self.lately().times = 0;
                if self.breaker.close() {
                    meters.app_stopped(-1);
                    info!(%appid, "WeChat serves this app again");
                }
            }
            Sign::Stopped(stopped, pauses) => {
                let again = self.again(stopped.errcode());
                let was_open = self.breaker.times() > 0;
                if probe.is_some() || (again >= SAME_ANSWERS && !was_open) {
                    let times = self.breaker.times() + 1;
                    let pause = pauses.pause(times - 1, fastrand::f64());
                    let (errcode, pause_ms) = (stopped.errcode(), pause.as_millis() as u64);
                    if !was_open {
                        meters.app_stopped(1);
                        warn!(%appid, errcode, pause_ms, "WeChat does not serve this app: its logins are told so unasked, but for one now and then");
                    }
                    self.breaker.trip(stopped, times, Instant::now() + pause);
                }
            }
        }
    }

    /// How often in a row this errcode was heard.
    fn again(&self, errcode: i64) -> u32 {
        let mut lately = self.lately();
        let times = if lately.errcode == errcode { lately.times.saturating_add(1) } else { 1 };
        *lately = Lately { errcode, times };
        times
    }

    fn lately(&self) -> std::sync::MutexGuard<'_, Lately> {
        self.lately.lock().expect("nothing panics while holding it")
    }
}

fn sign(answer: &Result<Reply, Fault>) -> Sign {
    let refusal = match answer {
        Ok(Reply::Phone(_)) => return Sign::Served,
        Ok(Reply::Refused(refusal)) => refusal,
        Err(Fault::Throttled) => return Sign::Stopped(Stopped { answer: None, by_quota: true }, MINUTE_QUOTA),
        Err(_) => return Sign::Nothing,
    };
    let stopped = |by_quota| Stopped { answer: Some(refusal.clone()), by_quota };
    match refusal.errcode {
        45009 => Sign::Stopped(stopped(true), DAY_QUOTA),
        45011 => Sign::Stopped(stopped(true), MINUTE_QUOTA),
        errcode if errcode::stops_the_app(errcode) => Sign::Stopped(stopped(false), NOT_SERVED),
        // WeChat's gateway has let the call through to where codes are looked at.
        40029 | 40013 => Sign::Served,
        _ => Sign::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::WechatAnswer;

    fn refused(errcode: i64) -> Result<Reply, Fault> {
        Ok(Reply::Refused(WechatAnswer { errcode, errmsg: "text".into(), rid: None }))
    }

    fn app() -> AppId {
        AppId::try_from("wx1").expect("a good appid")
    }

    fn hear(calls: &AppCalls, errcode: i64) {
        calls.hear(&app(), &refused(errcode), None, &Meters::new());
    }

    fn stopped_by(calls: &AppCalls) -> Option<i64> {
        match calls.permit() {
            Permit::Stopped { fault, .. } => Some(fault.errcode()),
            Permit::Go | Permit::Probe(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_refusal_three_times_in_a_row_stops_an_app() {
        for errcode in [48001, 50004, 61007, 45011, 45009] {
            let calls = AppCalls::default();
            for _ in 0..2 {
                hear(&calls, errcode);
            }
            assert_eq!(stopped_by(&calls), None);
            hear(&calls, errcode);
            assert_eq!(stopped_by(&calls), Some(errcode));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_single_codes_stop_nothing() {
        let calls = AppCalls::default();
        for errcode in [48001, 48004, 61003, 40097, 40097, 40097, 40001, 40001, 40001, -1, -1, -1, 47001, 47001, 47001]
        {
            hear(&calls, errcode);
        }
        for errcode in [45011, 45011, 40029, 45011, 45011, 40029] {
            hear(&calls, errcode);
        }
        assert_eq!(stopped_by(&calls), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_after_each_pause_finds_out_when_it_is_mended() {
        let (calls, meters) = (AppCalls::default(), Meters::new());
        for _ in 0..200 {
            hear(&calls, 48001);
        }
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let Permit::Stopped { left, .. } = calls.permit() else { panic!("it is stopped") };
            pauses.push(left);
            tokio::time::advance(left).await;
            let Permit::Probe(probe) = calls.permit() else { panic!("one may probe") };
            assert_eq!(stopped_by(&calls), Some(48001), "and only one");
            calls.hear(&app(), &refused(48001), Some(&probe), &meters);
        }
        assert!(pauses[0] <= Duration::from_secs(1), "two hundred in flight count once: {pauses:?}");
        assert!(pauses[6] >= Duration::from_secs(15) && pauses[6] <= Duration::from_secs(30), "{pauses:?}");
        tokio::time::advance(Duration::from_secs(30)).await;
        let Permit::Probe(probe) = calls.permit() else { panic!("one may probe") };
        calls.hear(&app(), &refused(40029), Some(&probe), &meters);
        drop(probe);
        assert!(matches!(calls.permit(), Permit::Go));
    }
}
