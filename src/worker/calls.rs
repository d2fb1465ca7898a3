//! What WeChat lets each app do at the moment, as this worker has heard: an app that WeChat serves no calls is not asked
//! for again and again, and one that calls too often pauses. The other apps feel nothing of it. And whether WeChat is
//! there at all: while it is away, one login asks for all, so that the codes of the others are not spent in vain.
//!
//! One answer proves nothing, since it may be about one odd code; several in a row do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::breaker::{Breaker, Permit, Probe};
use crate::login::AppId;
use crate::meters::Meters;
use crate::verdict::{StopCause, Stopped};
use crate::wechat::errcode;
use crate::wechat::{Fault, Reply};

/// So many answers in a row with the same errcode stop an app.
const SAME_ANSWERS: u32 = 3;
/// So many answers in a row that are none, of whatever app, and WeChat is away.
const NO_ANSWERS: u32 = 20;
/// WeChat comes back by itself, and nobody should wait long for that.
const AWAY: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(1) };
/// Only an operator ends it; a probe now and then finds out.
const NOT_SERVED: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
/// 45011, HTTP 429: the quota of a minute. Short enough that a waiting login may still make it.
const MINUTE_QUOTA: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
/// 45009: the quota of a day.
const DAY_QUOTA: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(60) };

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

/// Whether WeChat is there.
#[derive(Default)]
struct Presence {
    breaker: Breaker<Stopped>,
    no_answers: AtomicU32,
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

/// What an answer says of the app, beyond its login.
enum Sign {
    Served,
    Stopped(Stopped, Backoff),
    /// None: WeChat did not answer, or was too busy to.
    Away,
    Nothing,
}

impl Calls {
    /// Asks for every app again: whoever has mended something wants to see it tried.
    pub(super) fn forget(&self, meters: &Meters) {
        let apps = std::mem::take(&mut *self.apps.lock().expect("nothing panics while holding it"));
        let stopped = apps.values().filter(|calls| calls.breaker.close()).count();
        meters.app_stopped(-(stopped as i64));
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
        let wechat = granted(self.wechat.breaker.permit(now))?;
        Ok(Probes { app, wechat })
    }

    /// Takes note of an answer; that of a probe counts at once.
    pub(super) fn hear(&self, appid: &AppId, answer: &Result<Reply, Fault>, probes: &Probes<'_>, meters: &Meters) {
        let sign = sign(answer);
        self.wechat.hear(&sign, answer, probes.wechat.is_some(), meters);
        match sign {
            Sign::Nothing | Sign::Away => {}
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
                if probes.app.is_some() || (again >= SAME_ANSWERS && !was_open) {
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

impl Presence {
    fn hear(&self, sign: &Sign, answer: &Result<Reply, Fault>, probed: bool, meters: &Meters) {
        if !matches!(sign, Sign::Away) {
            self.no_answers.store(0, Ordering::Relaxed);
            if self.breaker.close() {
                meters.wechat_away(false);
                info!("WeChat answers again");
            }
            return;
        }
        let in_a_row = self.no_answers.fetch_add(1, Ordering::Relaxed) + 1;
        let times = self.breaker.times();
        if probed || (in_a_row >= NO_ANSWERS && times == 0) {
            if times == 0 {
                meters.wechat_away(true);
                warn!("WeChat is away: one login after the other finds out when it is back, and the others wait");
            }
            let answer = answer.as_ref().ok().and_then(|reply| match reply {
                Reply::Refused(refusal) => Some(refusal.clone()),
                Reply::Phone(_) => None,
            });
            let pause = AWAY.pause(times, fastrand::f64());
            self.breaker.trip(Stopped { answer, cause: StopCause::Away }, times + 1, Instant::now() + pause);
        }
    }
}

fn granted(permit: Permit<'_, Stopped>) -> Result<Option<Probe<'_, Stopped>>, (Stopped, Duration)> {
    match permit {
        Permit::Go => Ok(None),
        Permit::Probe(probe) => Ok(Some(probe)),
        Permit::Stopped { fault, left } => Err((fault, left)),
    }
}

fn sign(answer: &Result<Reply, Fault>) -> Sign {
    let refusal = match answer {
        Ok(Reply::Phone(_)) => return Sign::Served,
        Ok(Reply::Refused(refusal)) => refusal,
        Err(Fault::Throttled) => return Sign::Stopped(Stopped { answer: None, cause: StopCause::Quota }, MINUTE_QUOTA),
        Err(Fault::Unreachable(_) | Fault::Busy(_) | Fault::Unheard(_)) => return Sign::Away,
        Err(Fault::Unreadable(_)) => return Sign::Nothing,
    };
    let stopped = |cause| Stopped { answer: Some(refusal.clone()), cause };
    match refusal.errcode {
        -1 => Sign::Away,
        45009 => Sign::Stopped(stopped(StopCause::Quota), DAY_QUOTA),
        45011 => Sign::Stopped(stopped(StopCause::Quota), MINUTE_QUOTA),
        errcode if errcode::stops_the_app(errcode) => Sign::Stopped(stopped(StopCause::NotServed), NOT_SERVED),
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

    const NO_PROBES: Probes<'_> = Probes { app: None, wechat: None };

    fn app() -> AppId {
        AppId::try_from("wx1").expect("a good appid")
    }

    fn hear(calls: &AppCalls, errcode: i64) {
        calls.hear(&app(), &refused(errcode), &NO_PROBES, &Meters::new());
    }

    fn stopped_by(calls: &AppCalls) -> Option<i64> {
        calls.permit().err().map(|(stopped, _)| stopped.errcode())
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
            let Err((_, left)) = calls.permit() else { panic!("it is stopped") };
            pauses.push(left);
            tokio::time::advance(left).await;
            let Ok(probes @ Probes { app: Some(_), .. }) = calls.permit() else { panic!("one may probe") };
            assert_eq!(stopped_by(&calls), Some(48001), "and only one");
            calls.hear(&app(), &refused(48001), &probes, &meters);
        }
        assert!(pauses[0] <= Duration::from_secs(1), "two hundred in flight count once: {pauses:?}");
        assert!(pauses[6] >= Duration::from_secs(15) && pauses[6] <= Duration::from_secs(30), "{pauses:?}");
        tokio::time::advance(Duration::from_secs(30)).await;
        let Ok(probes @ Probes { app: Some(_), .. }) = calls.permit() else { panic!("one may probe") };
        calls.hear(&app(), &refused(40029), &probes, &meters);
        drop(probes);
        assert!(matches!(calls.permit(), Ok(Probes { app: None, wechat: None })));
    }

    #[tokio::test(start_paused = true)]
    async fn while_wechat_is_away_one_asks_for_all_apps() {
        let (calls, meters) = (Calls::default(), Meters::new());
        let (one, other) = (calls.of(&app()), calls.of(&AppId::try_from("wx2").expect("a good appid")));
        let away: [Result<Reply, Fault>; 4] = [
            refused(-1),
            Err(Fault::Busy(502)),
            Err(Fault::Unreachable("refused".into())),
            Err(Fault::Unheard("cut".into())),
        ];
        for answer in away.iter().cycle().take(19) {
            one.hear(&app(), answer, &NO_PROBES, &meters);
        }
        assert!(other.permit().is_ok(), "one more");
        one.hear(&app(), &away[3], &NO_PROBES, &meters);
        let Err((stopped, left)) = other.permit() else { panic!("all are stopped") };
        assert_eq!(stopped.cause, StopCause::Away);
        tokio::time::advance(left).await;
        for _ in 0..9 {
            let Ok(probes @ Probes { wechat: Some(_), .. }) = other.permit() else { panic!("one may probe") };
            let Err((_, left)) = one.permit() else { panic!("and only one") };
            assert_eq!(left, Duration::ZERO);
            other.hear(&app(), &away[0], &probes, &meters);
            drop(probes);
            let Err((_, left)) = one.permit() else { panic!("not yet") };
            assert!(left <= Duration::from_secs(1), "{left:?}");
            tokio::time::advance(left).await;
        }
        let Ok(probes) = other.permit() else { panic!("one may probe") };
        other.hear(&app(), &refused(40029), &probes, &meters);
        assert!(one.permit().is_ok(), "any answer will do");
    }
}
