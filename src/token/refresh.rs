//! Getting another token, as one worker sees it: one at a time, while the old one serves; those behind take what it
//! brings. How the workers of a fleet agree on who asks is in `fleet`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::breaker::Permit;
use crate::clock;
use crate::login::{UnixMs, WechatAnswer};
use crate::machine;
use crate::store::{SharedRefusal, SharedToken};
use crate::token::{Cached, KnownApp, Source, TokenFault, Tokens};
use crate::wechat::AccessToken;

/// Which token will do.
#[derive(Clone)]
pub(super) enum Wanted {
    /// Any that is still valid.
    Valid,
    /// Any that is still valid, other than the one that WeChat refused so; with `again` also that one, if it was fetched
    /// later than this, in Unix ms.
    OtherThan { failed: AccessToken, refusal: WechatAnswer, again: Option<UnixMs> },
    /// One that need not be refreshed yet.
    Fresh,
    /// One fetched now, whatever there is.
    New { force: bool },
}

/// Why there is no token, and how the fleet counts it, where it does.
pub(super) struct Missed {
    pub(super) fault: TokenFault,
    pub(super) refusal: Option<SharedRefusal>,
}

impl Tokens {
    /// Refreshes in the background while the old token goes on serving; one at a time.
    pub(super) fn refresh_early(&self, app: &KnownApp) {
        if app.0.turn.try_lock().is_err() || app.0.fetching.stopped(Instant::now()).is_some() {
            return;
        }
        let fetching = self.clone().fetch_in_turn(app.clone(), Wanted::Fresh);
        machine::spawn(&self.0.parts.tracker, async move {
            if let Err(fault) = fetching.await {
                debug!(%fault, "the access token was not refreshed; the old one still serves");
            }
        });
    }

    /// A token that will do, fetched within `until`. Fetching goes on when the one who asked for it has no more time:
    /// the others wait for it too.
    pub(super) async fn fetch(
        &self,
        app: &KnownApp,
        wanted: Wanted,
        until: Instant,
    ) -> Result<AccessToken, TokenFault> {
        let fetching = machine::spawn(&self.0.parts.tracker, self.clone().fetch_in_turn(app.clone(), wanted));
        match timeout_at(until, fetching).await {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(_)) | Err(_) => Err(TokenFault::Awaited),
        }
    }

    /// One at a time within this worker; those who waited take what the first one brought. While no token can be had, all
    /// are told at once, but for the one that probes and those that come meanwhile: they wait for what it brings.
    async fn fetch_in_turn(self, app: KnownApp, wanted: Wanted) -> Result<AccessToken, TokenFault> {
        if let Some(fault) = app.0.fetching.rests(Instant::now()).filter(|_| !wanted.is_an_order()) {
            return self.take_shared(&app, &wanted).await.ok_or(fault);
        }
        let _turn = app.0.turn.lock().await;
        if let Some(cached) = app.0.cached.load_full().filter(|cached| wanted.is_met_by(&cached.token, app.source())) {
            return Ok(cached.token.access_token.clone());
        }
        let _probe = match app.0.fetching.permit(Instant::now()) {
            Permit::Go => None,
            Permit::Probe(probe) => Some(probe),
            Permit::Stopped { .. } if wanted.is_an_order() => None,
            Permit::Stopped { fault, .. } => return self.take_shared(&app, &wanted).await.ok_or(fault),
        };
        let got = match app.source() {
            Source::External(external) => {
                let read = self.read_external(&app, external, &wanted).await;
                read.inspect_err(|fault| app.tell_once(fault)).map_err(Missed::from)
            }
            _ => self.fetch_for_fleet(&app, &wanted).await,
        };
        match got {
            Ok(token) => Ok(app.keep(token)),
            Err(missed) => {
                app.remember(&missed);
                Err(missed.fault)
            }
        }
    }

    /// What another worker has shared since this one failed: a failure keeps it from asking WeChat, not from looking.
    async fn take_shared(&self, app: &KnownApp, wanted: &Wanted) -> Option<AccessToken> {
        if let Source::External(_) = app.source() {
            return None;
        }
        let shared = self.0.parts.store.shared_token(app.appid()).await.ok()?.token?;
        wanted.is_met_by(&shared, app.source()).then(|| app.keep(shared))
    }
}

impl KnownApp {
    /// Keeps a token in memory; what could not be had is forgotten.
    pub(super) fn keep(&self, token: SharedToken) -> AccessToken {
        let access_token = token.access_token.clone();
        let fresh_until = self.source().fresh_until(&token);
        // A fifth of what is left then, or of what has gone by then: one that is read every few seconds has hours left.
        let left_ms = token.expires_at.saturating_sub(fresh_until);
        let gone_ms = fresh_until.saturating_sub(token.fetched_at);
        let spread = left_ms.min(gone_ms) as f64 / 5.0 * fastrand::f64();
        self.0.cached.store(Some(Arc::new(Cached { token, refresh_from: fresh_until + spread as u64 })));
        self.0.fetching.close();
        self.0.troubles.has_token(&access_token);
        access_token
    }

    /// Tells of a fault when it is new; it may go on for long.
    fn tell_once(&self, fault: &TokenFault) {
        if self.0.fetching.times() == 0 {
            warn!(appid = %self.appid(), %fault, "no access token");
        }
    }

    /// For a while nobody here asks again.
    fn remember(&self, missed: &Missed) {
        if !missed.fault.is_remembered() {
            return;
        }
        if missed.fault.is_of_token() {
            self.0.refused.give_up(Instant::now());
        }
        let times = match &missed.refusal {
            Some(refusal) => refusal.times,
            None => self.0.fetching.times() + 1,
        };
        if let Some(refusal) = &missed.refusal {
            *self.0.known_refusal.lock().expect("nothing panics while holding it") = Some(refusal.id.clone());
        }
        let heard_at = missed.refusal.as_ref().map(|refusal| refusal.heard_at);
        let gone = Duration::from_millis(heard_at.map_or(0, |heard_at| clock::now_ms().saturating_sub(heard_at)));
        let pause = missed.fault.pause(times, fastrand::f64()).saturating_sub(gone);
        self.0.troubles.no_token(&missed.fault, times);
        self.0.fetching.trip(missed.fault.clone(), times, Instant::now() + pause);
    }
}

impl Wanted {
    pub(super) fn is_met_by(&self, token: &SharedToken, source: &Source) -> bool {
        let now = clock::now_ms();
        if !source.may_have_given(token) {
            return false;
        }
        match self {
            Self::Valid => now < token.expires_at,
            Self::OtherThan { failed, again, .. } => {
                let is_given_again = again.is_some_and(|known| token.fetched_at > known);
                now < token.expires_at && (token.access_token != *failed || is_given_again)
            }
            Self::Fresh => now < source.fresh_until(token),
            Self::New { .. } => false,
        }
    }

    /// Whether an operator wants it, whatever there is.
    pub(super) fn is_an_order(&self) -> bool {
        matches!(self, Self::New { .. })
    }
}

impl From<TokenFault> for Missed {
    fn from(fault: TokenFault) -> Self {
        Self { fault, refusal: None }
    }
}
