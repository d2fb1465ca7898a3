//! From claim to conclusion: asking WeChat, judging what it says, asking again while that is right.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock;
use crate::login::{LoginRequest, Outcome, UnixMs, WechatAnswer};
use crate::stop_point::StopPoint;
use crate::token::{KnownApp, TokenFault};
use crate::verdict::{self, History, Moment, Stopped, Verdict};
use crate::wechat::{AccessToken, Fault, Reply, errcode};
use crate::worker::Worker;
use crate::worker::calls::{AppCalls, Probes};
use crate::worker::claiming::{Hold, Lease, STORE_PAUSE};
use crate::worker::unasked::no_such_app;
use crate::worker::walk::Walk;

/// One login between claim and conclusion.
struct Asking<'a, 'l> {
    worker: &'a Worker,
    request: &'a LoginRequest,
    app: KnownApp,
    calls: Arc<AppCalls>,
    lease: &'a mut Lease<'l>,
    history: &'a mut History,
    /// When the login's time is up.
    time_up_ms: UnixMs,
    /// When the patience is over; it begins with the first answer, and stands still while the store is away.
    patience_ends_ms: Option<UnixMs>,
    /// The token that WeChat refused, until there is another, or the same one once more.
    refused: Option<(AccessToken, WechatAnswer)>,
    /// The token that WeChat gave again after it had refused it.
    given_again: Option<AccessToken>,
    hard: &'a CancellationToken,
}

/// What came of asking once.
enum Asked {
    Answer(Result<Reply, Fault>),
    NoToken(TokenFault),
    /// Nothing, since WeChat refused the token so, and gave the same one again.
    SameToken(WechatAnswer),
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

impl Walk<'_> {
    /// Asks until the login is concluded. None: the claim was lost to someone else, or given back after a hard stop.
    pub(super) async fn ask(&mut self, request: &LoginRequest, lease: &mut Lease<'_>) -> Option<Outcome> {
        let worker = self.worker;
        let Some(app) = worker.0.tokens.app(request.appid.as_ref()) else { return Some(no_such_app(request)) };
        let asking = Asking {
            worker,
            request,
            calls: worker.0.calls.of(app.appid()),
            app,
            lease,
            history: &mut self.history,
            time_up_ms: worker.time_up_at(request, clock::now_ms()),
            patience_ends_ms: None,
            refused: None,
            given_again: None,
            hard: self.hard,
        };
        asking.run().await
    }
}

impl Asking<'_, '_> {
    async fn run(mut self) -> Option<Outcome> {
        let mut last = None;
        loop {
            let began_ms = clock::now_ms();
            if began_ms >= self.until_ms() {
                return Some(self.at_the_end(last.as_ref()));
            }
            let asked = match self.try_once().await {
                // Nearly always, and then it need not be kept to be judged once more at the end.
                Tried::Asked(Asked::Answer(Ok(Reply::Phone(phone)))) => {
                    return Some(verdict::judge_phone(phone, self.app.appid()));
                }
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
        if let Some((_, refusal)) = self.refused.take_if(|(refused, _)| *refused == token) {
            self.given_again = Some(token);
            return Tried::Asked(Asked::SameToken(refusal));
        }
        StopPoint::Token.reached();
        match self.lease.hold(self.history.asked).await {
            Hold::Held => Tried::Asked(Asked::Answer(self.ask(token, &probes).await)),
            Hold::StoreAway => Tried::StoreAway,
            Hold::Lost => Tried::Over,
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
            Asked::SameToken(refusal) => verdict::judge_same_token(refusal, self.history, moment),
            Asked::Stopped(stopped, left) => verdict::judge_stopped(stopped, *left, self.history, moment),
        }
    }

    /// What was heard last tells most about why there is no phone number.
    fn at_the_end(&mut self, last: Option<&Asked>) -> Outcome {
        match (last.map(|asked| self.judge(asked)), last) {
            (Some(Verdict::Conclude(outcome)), _) => outcome,
            (Some(Verdict::OtherToken), Some(Asked::Answer(Ok(Reply::Refused(refusal))))) => {
                verdict::judge_no_time_for_a_token(refusal, self.history)
            }
            _ => Outcome::Failed(verdict::time_up_since(self.history, self.time_up_ms, clock::now_ms())),
        }
    }

    /// The token to ask with next: if WeChat refused the last, another one, or the same where it may be asked with again.
    /// None: given back after a hard stop.
    async fn token(&mut self) -> Option<Result<AccessToken, TokenFault>> {
        let patience = self.worker.0.limits.patience;
        let left = Duration::from_millis(self.until_ms().saturating_sub(clock::now_ms())).min(patience);
        let until = Instant::now() + left;
        let tokens = &self.worker.0.tokens;
        let fetching = async {
            match &self.refused {
                Some((failed, refusal)) => {
                    let may_be_the_same = verdict::may_ask_with_same_token(self.history);
                    tokens.replace(&self.app, failed, refusal, may_be_the_same, until).await
                }
                None => tokens.current(&self.app, until).await,
            }
        };
        let fetched = tokio::select! {
            biased;
            // Before a token that is at hand: a code that is asked now is spent, and its answer might not be heard.
            () = self.hard.cancelled() => {
                self.lease.give_back(self.history).await;
                return None;
            }
            fetched = fetching => fetched,
            never = self.lease.keep(self.history.asked) => match never {},
        };
        if let Ok(token) = &fetched
            && self.refused.take_if(|(refused, _)| refused != token).is_some()
        {
            self.history.other_tokens += 1;
            self.history.same_token = 0;
        }
        Some(fetched)
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
                self.refuse(token, refusal.clone());
            }
            Ok(Reply::Phone(_)) => self.app.serves(&token),
            Ok(Reply::Refused(refusal)) if errcode::proves_the_token(refusal.errcode) => self.app.serves(&token),
            Err(fault) => {
                // WeChat was not asked.
                self.history.asked -= u32::from(matches!(fault, Fault::Local(_)));
                debug!(request_id = %self.request.request_id, appid = %self.app.appid(), %fault, "no phone number");
            }
            Ok(_) => {}
        }
        answer
    }

    /// WeChat has refused this token, which may be another one than was given again.
    fn refuse(&mut self, token: AccessToken, refusal: WechatAnswer) {
        if self.given_again.take_if(|given_again| *given_again != token).is_some() {
            self.history.same_token = 0;
        }
        self.refused = Some((token, refusal));
    }

    /// Waits before asking again. None: given back after a hard stop.
    async fn pause(&mut self, pause: Duration) -> Option<()> {
        StopPoint::Pausing.reached();
        tokio::select! {
            biased;
            () = sleep(pause) => Some(()),
            () = self.hard.cancelled() => {
                self.lease.give_back(self.history).await;
                None
            }
            never = self.lease.keep(self.history.asked) => match never {},
        }
    }
}

/// The word for metrics.
fn kind(answer: &Result<Reply, Fault>) -> &'static str {
    match answer {
        Ok(Reply::Phone(_)) => "phone",
        Ok(Reply::Refused(_)) => "refused",
        Err(Fault::Unreachable(_)) => "unreachable",
        Err(Fault::Local(_)) => "local",
        Err(Fault::Busy(_)) => "busy",
        Err(Fault::Throttled) => "throttled",
        Err(Fault::Unheard(_)) => "unheard",
        Err(Fault::Unreadable(_)) => "unreadable",
    }
}
