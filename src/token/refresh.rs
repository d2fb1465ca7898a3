//! Getting another token: one at a time in this worker, one at a time in the fleet, and the old one serves meanwhile.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::breaker::Permit;
use crate::clock;
use crate::login::{UnixMs, WechatAnswer};
use crate::machine;
use crate::store::{SharedRefusal, SharedState, SharedToken};
use crate::token::source::Fetched;
use crate::token::{Cached, KnownApp, Source, TokenFault, Tokens};
use crate::wechat::AccessToken;
use crate::wechat::errcode::{self, TokenErrcode};

/// A leader that dies is succeeded after this; one that lives renews its lead.
const LEAD: Duration = Duration::from_secs(2);
/// How often one that waits for another worker's refresh looks for the token.
const LOOK: Backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(50) };

/// Which token will do.
#[derive(Clone)]
pub(super) enum Wanted {
    /// Any that is still valid.
    Valid,
    /// Any that is still valid, other than the one that WeChat refused so.
    OtherThan { failed: AccessToken, refusal: WechatAnswer },
    /// One that need not be refreshed yet.
    Fresh,
    /// One fetched now, whatever there is.
    New { force: bool },
}

/// Why there is no token, and how the fleet counts it, where it does.
struct Missed {
    fault: TokenFault,
    refusal: Option<SharedRefusal>,
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

    /// One at a time within the fleet; the others watch the store for what that one brings.
    async fn fetch_for_fleet(&self, app: &KnownApp, wanted: &Wanted) -> Result<SharedToken, Missed> {
        let store = &self.0.parts.store;
        let owner = uuid::Uuid::now_v7().simple().to_string();
        let at_most = Instant::now() + (self.0.parts.client.timeout() + LEAD) * 2;
        let mut looks = 0;
        while Instant::now() < at_most {
            if let Some(found) = self.look(app, wanted).await? {
                return Ok(found);
            }
            if store.lead_refresh(app.appid(), &owner, LEAD).await.map_err(TokenFault::from)? {
                return self.fetch_as_leader(app, wanted, &owner).await;
            }
            sleep(LOOK.pause(looks, fastrand::f64())).await;
            looks += 1;
        }
        Err(TokenFault::Awaited.into())
    }

    /// What the fleet has: a token that will do, a refusal that is news here, or nothing yet.
    async fn look(&self, app: &KnownApp, wanted: &Wanted) -> Result<Option<SharedToken>, Missed> {
        let SharedState { token, refusal } =
            self.0.parts.store.shared_token(app.appid()).await.map_err(TokenFault::from)?;
        if let Some(token) = token.filter(|token| wanted.is_met_by(token, app.source())) {
            return Ok(Some(token));
        }
        match refusal.filter(|refusal| app.is_news(refusal) && !wanted.is_an_order()) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(None),
        }
    }

    /// Looks once more, since the last leader may just have finished, then asks WeChat and shares what it says.
    async fn fetch_as_leader(&self, app: &KnownApp, wanted: &Wanted, owner: &str) -> Result<SharedToken, Missed> {
        let store = &self.0.parts.store;
        match self.look(app, wanted).await {
            Ok(None) => {}
            found_or_refused => {
                // Away now? The lead ends by itself.
                let _ = store.end_refresh(app.appid(), owner, None).await;
                return found_or_refused.map(|found| found.expect("it is not none"));
            }
        }
        let fetched = tokio::select! {
            biased;
            fetched = self.fetch_wanted(app, wanted) => fetched,
            never = self.keep_lead(app, owner) => match never {},
        };
        match fetched {
            Ok(fetched) => Ok(self.share(app, owner, fetched).await),
            Err(fault) => {
                warn!(appid = %app.appid(), %fault, "no access token");
                let refusal = self.refusal_for_fleet(app, owner, &fault).await;
                // Away now? The lead ends by itself.
                let _ = store.end_refresh(app.appid(), owner, refusal.as_ref()).await;
                Err(Missed { fault, refusal })
            }
        }
    }

    /// Shares a fresh token. Where the store is away it serves this worker all the same, and the lead ends by itself.
    async fn share(&self, app: &KnownApp, owner: &str, fetched: Fetched) -> SharedToken {
        let Fetched { token, renewal } = fetched;
        let token = SharedToken { source: Some(app.source().label()), ..token };
        let shared = self.0.parts.store.share_token(app.appid(), owner, &token, renewal.as_ref()).await;
        let life_s = (token.expires_at - token.fetched_at) / 1000;
        info!(appid = %app.appid(), life_s, shared = *shared.as_ref().unwrap_or(&false), "access token fetched");
        if let (Err(_), Some(renewal)) = (shared, renewal) {
            self.keep_renewal(app, token.clone(), renewal);
        }
        token
    }

    /// Renews the lead for as long as this is polled.
    async fn keep_lead(&self, app: &KnownApp, owner: &str) -> Infallible {
        loop {
            sleep(LEAD / 3).await;
            // Away, or overtaken? What is fetched serves this worker all the same.
            let _ = self.0.parts.store.lead_refresh(app.appid(), owner, LEAD).await;
        }
    }

    /// What the others are told, so that each of them need not ask; none where they may fare better.
    async fn refusal_for_fleet(&self, app: &KnownApp, owner: &str, fault: &TokenFault) -> Option<SharedRefusal> {
        let (answer, same_token) = match fault {
            TokenFault::Refused(answer) if errcode::of_token(answer.errcode) != TokenErrcode::Address => {
                (answer, false)
            }
            TokenFault::StillRefused(answer) => (answer, true),
            _ => return None,
        };
        let credentials = app.source().credentials();
        let before = self.0.parts.store.shared_token(app.appid()).await.ok()?.refusal;
        let times = before.filter(|before| before.credentials == credentials).map_or(0, |before| before.times) + 1;
        let (id, answer, heard_at) = (owner.to_owned(), answer.clone(), clock::now_ms());
        Some(SharedRefusal { id, credentials, answer, same_token, times, heard_at })
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
        self.0.fetching.trip(missed.fault.clone(), times, Instant::now() + pause);
    }

    /// Whether a refusal was heard by another worker since this one last failed, asking with the same, and not so long
    /// ago that somebody should ask again.
    fn is_news(&self, refusal: &SharedRefusal) -> bool {
        let known = self.0.known_refusal.lock().expect("nothing panics while holding it").clone();
        known.as_ref() != Some(&refusal.id) && refusal.counts() && refusal.credentials == self.source().credentials()
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
            Self::OtherThan { failed, .. } => now < token.expires_at && token.access_token != *failed,
            Self::Fresh => now < source.fresh_until(token),
            Self::New { .. } => false,
        }
    }

    /// Whether an operator wants it, whatever there is.
    fn is_an_order(&self) -> bool {
        matches!(self, Self::New { .. })
    }
}

impl SharedRefusal {
    /// Whether nobody need ask again yet.
    fn counts(&self) -> bool {
        let Missed { fault, .. } = self.clone().into();
        let pause_ms = fault.pause(self.times, 1.0).as_millis() as UnixMs;
        clock::now_ms() < self.heard_at.saturating_add(pause_ms)
    }
}

impl From<TokenFault> for Missed {
    fn from(fault: TokenFault) -> Self {
        Self { fault, refusal: None }
    }
}

impl From<SharedRefusal> for Missed {
    fn from(refusal: SharedRefusal) -> Self {
        let answer = refusal.answer.clone();
        let fault = if refusal.same_token { TokenFault::StillRefused(answer) } else { TokenFault::Refused(answer) };
        Self { fault, refusal: Some(refusal) }
    }
}
