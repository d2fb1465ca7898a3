//! From claim to conclusion: asking WeChat, judging what it says, asking again while that is right.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock;
use crate::login::{AppId, LoginRequest, Outcome, Reason, UnixMs};
use crate::queue::Delivery;
use crate::store::Claimed;
use crate::token::TokenFault;
use crate::verdict::{self, History, Moment, Verdict};
use crate::wechat::{AccessToken, Fault, Reply, errcode};
use crate::worker::{Conclusion, Worker, unasked};

/// The pause while the store is away and the lease has to be renewed.
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// One login between claim and conclusion.
struct Asking<'a> {
    worker: &'a Worker,
    request: &'a LoginRequest,
    appid: AppId,
    claimed: &'a Claimed,
    history: History,
    /// When the login's time is up.
    time_up_ms: UnixMs,
    /// When that or the patience ends, whichever is first.
    until_ms: UnixMs,
    leased_until: Instant,
    hard: &'a CancellationToken,
}

/// What came of asking once.
enum Asked {
    Answer(AccessToken, Result<Reply, Fault>),
    NoToken(TokenFault),
}

/// Whether the claim still keeps others from asking.
enum Lease {
    Held,
    StoreAway,
    Lost,
}

impl Worker {
    /// Asks until the login is concluded. None: the claim was lost to someone else, or given back after a hard stop.
    pub(super) async fn conclude(
        &self,
        request: &LoginRequest,
        delivery: &Delivery,
        claimed: &Claimed,
        leased_until: Instant,
        hard: &CancellationToken,
    ) -> Option<Conclusion> {
        let Some(appid) = self.0.tokens.app(request.appid.as_ref()) else {
            let (reason, detail) = match request.appid {
                Some(_) => (Reason::UnknownApp, "no such app is configured"),
                None => (Reason::InvalidRequest, "appid is missing, and several apps are configured"),
            };
            return Some(unasked(reason, detail.into(), claimed));
        };
        let now = clock::now_ms();
        let limits = &self.0.limits;
        let time_up_ms = verdict::time_up_at(request, delivery.timestamp, now, limits.code_life);
        let asking = Asking {
            worker: self,
            request,
            appid,
            claimed,
            history: History { asked: claimed.asked, unheard: claimed.unheard, ..History::default() },
            time_up_ms,
            until_ms: time_up_ms.min(now + limits.patience.as_millis() as UnixMs),
            leased_until,
            hard,
        };
        asking.run().await
    }
}

impl Asking<'_> {
    async fn run(mut self) -> Option<Conclusion> {
        let mut last = None;
        while clock::now_ms() < self.until_ms {
            let asked = match self.token(last.as_ref()).await {
                Err(fault) => Asked::NoToken(fault),
                Ok(token) => match self.hold_lease().await {
                    Lease::Held => {
                        let answer = self.ask(&token).await;
                        Asked::Answer(token, answer)
                    }
                    Lease::StoreAway => continue,
                    Lease::Lost => return None,
                },
            };
            match self.judge(&asked) {
                Verdict::Conclude(outcome) => return Some(self.concluded(outcome)),
                Verdict::AskAgain { after_ms } => self.pause(after_ms).await?,
                Verdict::OtherToken => {}
            }
            last = Some(asked);
        }
        let outcome = self.at_the_end(last.as_ref());
        Some(self.concluded(outcome))
    }

    fn judge(&mut self, asked: &Asked) -> Verdict {
        let moment = Moment { now_ms: clock::now_ms(), until_ms: self.until_ms, dice: fastrand::f64() };
        match asked {
            Asked::Answer(_, answer) => verdict::judge(answer, &self.appid, &mut self.history, moment),
            Asked::NoToken(fault) => verdict::judge_token(fault, &mut self.history, moment),
        }
    }

    /// What was heard last tells most about why there is no phone number.
    fn at_the_end(&mut self, last: Option<&Asked>) -> Outcome {
        match last.map(|asked| self.judge(asked)) {
            Some(Verdict::Conclude(outcome)) => outcome,
            _ => verdict::time_up(&self.history, clock::now_ms() >= self.time_up_ms),
        }
    }

    /// The token to ask with next: another one, if WeChat refused the last.
    async fn token(&self, last: Option<&Asked>) -> Result<AccessToken, TokenFault> {
        let left_ms = self.until_ms.saturating_sub(clock::now_ms());
        let until = Instant::now() + Duration::from_millis(left_ms);
        let tokens = &self.worker.0.tokens;
        match last {
            Some(Asked::Answer(failed, Ok(Reply::Refused(refusal)))) if errcode::is_bad_token(refusal.errcode) => {
                tokens.replace(&self.appid, failed, refusal, until).await
            }
            _ => tokens.current(&self.appid, until).await,
        }
    }

    /// Makes sure that nobody else asks while this call lasts.
    async fn hold_lease(&mut self) -> Lease {
        let worker = self.worker;
        let renewed_at = Instant::now();
        if self.leased_until.duration_since(renewed_at) > worker.0.client.timeout() {
            return Lease::Held;
        }
        let asked = self.history.asked + 1;
        match worker.0.store.extend(&self.request.request_id, self.claimed, asked, worker.lease()).await {
            Ok(true) => {
                self.leased_until = renewed_at + worker.lease();
                Lease::Held
            }
            Ok(false) => Lease::Lost,
            Err(_) => {
                sleep(STORE_PAUSE).await;
                Lease::StoreAway
            }
        }
    }

    async fn ask(&mut self, token: &AccessToken) -> Result<Reply, Fault> {
        let LoginRequest { code, openid, .. } = self.request;
        let began = Instant::now();
        self.history.asked += 1;
        let answer = self.worker.0.client.exchange(token, code, openid.as_ref()).await;
        self.worker.0.meters.answered(kind(&answer), began.elapsed());
        if let Err(fault) = &answer {
            debug!(request_id = %self.request.request_id, appid = %self.appid, %fault, "no phone number");
        }
        answer
    }

    /// Waits before asking again; a hard stop gives the claim back instead, with what is known now.
    async fn pause(&self, after_ms: u64) -> Option<()> {
        tokio::select! {
            () = sleep(Duration::from_millis(after_ms)) => Some(()),
            () = self.hard.cancelled() => {
                let History { asked, unheard, .. } = self.history;
                let store = &self.worker.0.store;
                // Away now? The claim runs out by itself.
                let _ = store.release(&self.request.request_id, self.claimed, asked, unheard).await;
                None
            }
        }
    }

    fn concluded(&self, outcome: Outcome) -> Conclusion {
        Conclusion { outcome, asked: self.history.asked }
    }
}

/// The word for metrics.
fn kind(answer: &Result<Reply, Fault>) -> &'static str {
    match answer {
        Ok(Reply::Phone(_)) => "phone",
        Ok(Reply::Refused(_)) => "refused",
        Err(Fault::Unreachable(_)) => "unreachable",
        Err(Fault::Busy(_)) => "busy",
        Err(Fault::Throttled) => "throttled",
        Err(Fault::Unheard(_)) => "unheard",
        Err(Fault::Unreadable(_)) => "unreadable",
    }
}
