//! From claim to conclusion: asking WeChat, judging what it says, asking again while that is right.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock;
use crate::login::{AppId, LoginRequest, Outcome, Reason, UnixMs, WechatAnswer};
use crate::queue::Delivery;
use crate::store::Claimed;
use crate::token::TokenFault;
use crate::verdict::{self, History, Moment, Verdict};
use crate::wechat::{AccessToken, Fault, Reply};
use crate::worker::{Conclusion, Worker, time_up_at, unasked};

/// The pause while the store is away and the lease has to be renewed.
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// One login between claim and conclusion.
struct Asking<'a> {
    worker: &'a Worker,
    request: &'a LoginRequest,
    appid: AppId,
    claimed: &'a Claimed,
    history: History,
    /// When the patience or the login's time ends, whichever is first.
    until_ms: UnixMs,
    leased_until: Instant,
    hard: &'a CancellationToken,
}

/// What is known before the next asking.
enum Next {
    Ask,
    /// With another token than this one, which WeChat refused so.
    AskWithOther(AccessToken, WechatAnswer),
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
        let time_up = time_up_at(request, delivery, now, limits.code_life);
        let asking = Asking {
            worker: self,
            request,
            appid,
            claimed,
            history: History { asked: claimed.asked, unheard: claimed.unheard, ..History::default() },
            until_ms: time_up.min(now + limits.patience.as_millis() as UnixMs),
            leased_until,
            hard,
        };
        asking.run().await
    }
}

impl Asking<'_> {
    async fn run(mut self) -> Option<Conclusion> {
        let mut next = Next::Ask;
        loop {
            if clock::now_ms() >= self.until_ms {
                return Some(self.concluded(verdict::time_up(&self.history)));
            }
            let (answer, token) = match self.token(&next).await {
                Ok(token) => match self.hold_lease().await {
                    Lease::Held => (Ok(self.ask(&token).await), Some(token)),
                    Lease::StoreAway => continue,
                    Lease::Lost => return None,
                },
                Err(fault) => (Err(fault), None),
            };
            let moment = self.moment();
            let verdict = match &answer {
                Ok(answer) => verdict::judge(answer, &self.appid, &mut self.history, moment),
                Err(fault) => verdict::judge_token(fault, &mut self.history, moment),
            };
            next = match (verdict, answer, token) {
                (Verdict::Conclude(outcome), ..) => return Some(self.concluded(outcome)),
                (Verdict::AskAgain { after_ms }, ..) => {
                    self.pause(after_ms).await?;
                    Next::Ask
                }
                (Verdict::OtherToken, Ok(Ok(Reply::Refused(refusal))), Some(token)) => {
                    self.history.other_tokens += 1;
                    Next::AskWithOther(token, refusal)
                }
                (Verdict::OtherToken, ..) => Next::Ask,
            };
        }
    }

    async fn token(&self, next: &Next) -> Result<AccessToken, TokenFault> {
        let left_ms = self.until_ms.saturating_sub(clock::now_ms());
        let until = Instant::now() + Duration::from_millis(left_ms);
        let tokens = &self.worker.0.tokens;
        match next {
            Next::Ask => tokens.current(&self.appid, until).await,
            Next::AskWithOther(failed, refusal) => tokens.replace(&self.appid, failed, refusal, until).await,
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

    fn moment(&self) -> Moment {
        Moment { now_ms: clock::now_ms(), until_ms: self.until_ms, dice: fastrand::f64() }
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
