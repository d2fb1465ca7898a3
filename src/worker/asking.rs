//! From claim to conclusion: asking WeChat, judging what it says, asking again while that is right.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock;
use crate::login::{LoginRequest, Outcome, UnixMs, WechatAnswer};
use crate::queue::Delivery;
use crate::stop_point::StopPoint;
use crate::store::Claimed;
use crate::token::{KnownApp, TokenFault};
use crate::verdict::{self, History, Moment, Stopped, Verdict};
use crate::wechat::{AccessToken, Fault, Reply, errcode};
use crate::worker::Worker;
use crate::worker::calls::{AppCalls, Probes};
use crate::worker::unasked::no_such_app;

/// The pause while the store is away and the lease has to be renewed.
const STORE_PAUSE: Duration = Duration::from_millis(250);
/// What must be left of a lease after the longest call: time to record its answer.
const RECORDING: Duration = Duration::from_millis(500);
/// A login that waits renews its lease when so much is left of it.
const RENEWED_AT: Duration = Duration::from_secs(1);

/// One login between claim and conclusion.
struct Asking<'a> {
    worker: &'a Worker,
    request: &'a LoginRequest,
    app: KnownApp,
    calls: Arc<AppCalls>,
    claimed: &'a Claimed,
    /// Until when nobody else asks.
    leased_until: Instant,
    history: &'a mut History,
    /// When the login's time is up.
    time_up_ms: UnixMs,
    /// When the patience is over; it begins with the first answer, and stands still while the store is away.
    patience_ends_ms: Option<UnixMs>,
    /// The token that WeChat refused, until there is another.
    refused: Option<(AccessToken, WechatAnswer)>,
    hard: &'a CancellationToken,
}

/// What came of asking once.
enum Asked {
    Answer(Result<Reply, Fault>),
    NoToken(TokenFault),
    /// Nothing, since WeChat does not serve the app now; a probe may go so much later.
    Stopped(Stopped, Duration),
}

/// What came of trying to ask once.
enum Tried {
    Asked(Asked),
    StoreAway,
    /// The claim is someone else's, or was given back.
    Over,
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
        history: &mut History,
        hard: &CancellationToken,
    ) -> Option<Outcome> {
        let Some(app) = self.0.tokens.app(request.appid.as_ref()) else {
            return Some(no_such_app(request));
        };
        let (now, life) = (clock::now_ms(), self.0.limits.code_life);
        let asking = Asking {
            worker: self,
            request,
            calls: self.0.calls.of(app.appid()),
            app,
            claimed,
            leased_until,
            history,
            time_up_ms: verdict::time_up_at(request, delivery.timestamp, now, life),
            patience_ends_ms: None,
            refused: None,
            hard,
        };
        asking.run().await
    }
}

impl Asking<'_> {
    async fn run(mut self) -> Option<Outcome> {
        let mut last = None;
        while clock::now_ms() < self.until_ms() {
            let began_ms = clock::now_ms();
            let asked = match self.try_once().await {
                Tried::Asked(asked) => asked,
                Tried::StoreAway => {
                    self.wait_for_store(began_ms).await?;
                    continue;
                }
                Tried::Over => return None,
            };
            match self.judge(&asked) {
                Verdict::Conclude(outcome) => return Some(outcome),
                Verdict::AskAgain { after_ms } => self.pause(Duration::from_millis(after_ms)).await?,
                Verdict::OtherToken => {}
            }
            last = Some(asked);
        }
        Some(self.at_the_end(last.as_ref()))
    }

    /// Asks once, if nothing stands against it.
    async fn try_once(&mut self) -> Tried {
        let calls = Arc::clone(&self.calls);
        let probes = match calls.permit() {
            Ok(probes) => probes,
            Err((stopped, left)) => return Tried::Asked(Asked::Stopped(stopped, left)),
        };
        let token = match self.token().await {
            Some(Ok(token)) => token,
            Some(Err(TokenFault::Store)) => return Tried::StoreAway,
            Some(Err(fault)) => return Tried::Asked(Asked::NoToken(fault)),
            None => return Tried::Over,
        };
        StopPoint::Token.reached();
        match self.hold_lease().await {
            Lease::Held => Tried::Asked(Asked::Answer(self.ask(token, &probes).await)),
            Lease::StoreAway => Tried::StoreAway,
            Lease::Lost => Tried::Over,
        }
    }

    /// When the login's time or the patience ends, whichever is first.
    fn until_ms(&self) -> UnixMs {
        self.patience_ends_ms.map_or(self.time_up_ms, |patience| patience.min(self.time_up_ms))
    }

    fn judge(&mut self, asked: &Asked) -> Verdict {
        let now_ms = clock::now_ms();
        let patience_ms = self.worker.0.limits.patience.as_millis() as UnixMs;
        self.patience_ends_ms.get_or_insert(now_ms + patience_ms);
        let moment = Moment { now_ms, until_ms: self.until_ms(), dice: fastrand::f64() };
        match asked {
            Asked::Answer(answer) => verdict::judge(answer, self.app.appid(), self.history, moment),
            Asked::NoToken(fault) => verdict::judge_token(fault, self.history, moment),
            Asked::Stopped(stopped, left) => verdict::judge_stopped(stopped, *left, self.history, moment),
        }
    }

    /// What was heard last tells most about why there is no phone number.
    fn at_the_end(&mut self, last: Option<&Asked>) -> Outcome {
        match last.map(|asked| self.judge(asked)) {
            Some(Verdict::Conclude(outcome)) => outcome,
            _ => verdict::time_up(self.history, clock::now_ms() >= self.time_up_ms),
        }
    }

    /// The token to ask with next: another one, if WeChat refused the last. None: given back after a hard stop.
    async fn token(&mut self) -> Option<Result<AccessToken, TokenFault>> {
        let patience = self.worker.0.limits.patience;
        let left = Duration::from_millis(self.until_ms().saturating_sub(clock::now_ms())).min(patience);
        let until = Instant::now() + left;
        let tokens = &self.worker.0.tokens;
        let fetching = async {
            match &self.refused {
                Some((failed, refusal)) => tokens.replace(&self.app, failed, refusal, until).await,
                None => tokens.current(&self.app, until).await,
            }
        };
        let mut leased_until = self.leased_until;
        let fetched = tokio::select! {
            biased;
            // Before a token that is at hand: a code that is asked now is spent, and its answer might not be heard.
            () = self.hard.cancelled() => {
                self.give_back().await;
                return None;
            }
            fetched = fetching => fetched,
            never = self.keep_claim(&mut leased_until) => match never {},
        };
        self.leased_until = leased_until;
        if fetched.is_ok() && self.refused.take().is_some() {
            self.history.other_tokens += 1;
        }
        Some(fetched)
    }

    /// Makes sure that nobody else asks while this call lasts. The first is covered by the claim itself.
    async fn hold_lease(&mut self) -> Lease {
        if self.history.asked == self.claimed.asked && self.lasts_for_a_call() {
            return Lease::Held;
        }
        let (worker, renewed_at) = (self.worker, Instant::now());
        let asked = self.history.asked + 1;
        match worker.0.store.extend(&self.request.request_id, self.claimed, asked, worker.lease()).await {
            Ok(true) => {
                self.leased_until = renewed_at + worker.lease();
                // A store that took so long to answer is as good as away: somebody else may ask before the call is over.
                if self.lasts_for_a_call() { Lease::Held } else { Lease::StoreAway }
            }
            Ok(false) => Lease::Lost,
            Err(_) => Lease::StoreAway,
        }
    }

    fn lasts_for_a_call(&self) -> bool {
        let left = self.leased_until.duration_since(Instant::now());
        left > self.worker.0.client.timeout() + RECORDING
    }

    /// Renews the lease for as long as this is polled: a login that only waits would look like one whose worker died in
    /// the middle of a call, and somebody else would take it over, in doubt.
    async fn keep_claim(&self, leased_until: &mut Instant) -> Infallible {
        let Worker(parts) = self.worker;
        // The claim itself counts as one.
        let asked = self.history.asked.max(self.claimed.asked + 1);
        loop {
            sleep_until(*leased_until - RENEWED_AT).await;
            let renewed_at = Instant::now();
            match parts.store.extend(&self.request.request_id, self.claimed, asked, self.worker.lease()).await {
                Ok(true) => *leased_until = renewed_at + self.worker.lease(),
                // Somebody else's by now? That is found out before the next asking.
                Ok(false) => pending().await,
                Err(_) => sleep(STORE_PAUSE).await,
            }
        }
    }

    /// No code is asked while its result could not be written, and nobody's patience ends over that.
    async fn wait_for_store(&mut self, away_since_ms: UnixMs) -> Option<()> {
        self.pause(STORE_PAUSE).await?;
        if let Some(patience_ends_ms) = &mut self.patience_ends_ms {
            *patience_ends_ms += clock::now_ms().saturating_sub(away_since_ms);
        }
        Some(())
    }

    async fn ask(&mut self, token: AccessToken, probes: &Probes<'_>) -> Result<Reply, Fault> {
        let LoginRequest { code, openid, .. } = self.request;
        let began = Instant::now();
        StopPoint::BeforeAsking.reached();
        self.history.asked += 1;
        let answer = self.worker.0.client.exchange(&token, code, openid.as_ref()).await;
        StopPoint::Answered.reached();
        self.worker.0.meters.answered(kind(&answer), began.elapsed());
        self.calls.hear(self.app.appid(), &answer, probes, &self.worker.0.meters);
        match &answer {
            Ok(Reply::Refused(refusal)) if errcode::is_bad_token(refusal.errcode) => {
                self.refused = Some((token, refusal.clone()));
            }
            Err(fault) => {
                debug!(request_id = %self.request.request_id, appid = %self.app.appid(), %fault, "no phone number");
            }
            Ok(_) => {}
        }
        answer
    }

    /// Waits before asking again. None: given back after a hard stop.
    async fn pause(&mut self, pause: Duration) -> Option<()> {
        StopPoint::Pausing.reached();
        let mut leased_until = self.leased_until;
        let paused = tokio::select! {
            biased;
            () = sleep(pause) => Some(()),
            () = self.hard.cancelled() => {
                self.give_back().await;
                None
            }
            never = self.keep_claim(&mut leased_until) => match never {},
        };
        self.leased_until = leased_until;
        paused
    }

    /// Gives the claim back with what is known now. If the store is away, it runs out by itself.
    async fn give_back(&self) {
        let History { asked, unheard, .. } = *self.history;
        let _ = self.worker.0.store.release(&self.request.request_id, self.claimed, asked, unheard).await;
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
