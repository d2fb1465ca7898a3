//! Getting another token: one at a time in this worker, one at a time in the fleet, and the old one serves meanwhile.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::clock;
use crate::login::{UnixMs, WechatAnswer};
use crate::store::SharedToken;
use crate::token::{AppToken, Inner, TokenFault, Tokens};
use crate::wechat::AccessToken;
use crate::wechat::errcode::{self, TokenErrcode};

/// A token is refreshed when less than this is left: WeChat then hands out the next one while the old one still works.
const EARLY_MS: u64 = 300_000;
/// A leader that dies is succeeded after this; one that lives renews its lead.
const LEAD: Duration = Duration::from_secs(2);
/// How often one that waits for another worker's refresh looks for the token.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For so long the last failure answers those who come next, so that a thousand waiting logins ask once. It grows while
/// the failure is one that only an operator can end.
const FAILURE_ANSWERS_FOR: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

/// Which token will do.
#[derive(Clone)]
pub(super) enum Wanted {
    /// Any that is still valid.
    Valid,
    /// Any that is still valid, other than the one that WeChat refused so.
    OtherThan { failed: AccessToken, refusal: WechatAnswer },
    /// One that need not be refreshed yet.
    Fresh,
}

impl Tokens {
    /// Refreshes in the background while the old token goes on serving; one at a time.
    pub(super) fn refresh_early(&self, app: &Arc<AppToken>) {
        if app.turn.try_lock().is_err() || app.recent_failure().is_some() {
            return;
        }
        let fetching = self.clone().fetch_in_turn(Arc::clone(app), Wanted::Fresh);
        self.0.tracker.spawn(async move {
            if let Err(fault) = fetching.await {
                debug!(%fault, "the access token was not refreshed; the old one still serves");
            }
        });
    }

    /// A token that will do, fetched within `until`. Fetching goes on when the one who asked for it has no more time:
    /// the others wait for it too.
    pub(super) async fn fetch(
        &self,
        app: &Arc<AppToken>,
        wanted: Wanted,
        until: Instant,
    ) -> Result<AccessToken, TokenFault> {
        let fetching = self.0.tracker.spawn(self.clone().fetch_in_turn(Arc::clone(app), wanted));
        match timeout_at(until, fetching).await {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(_)) | Err(_) => Err(TokenFault::Awaited),
        }
    }

    /// One at a time within this worker; those who waited take what the first one brought.
    async fn fetch_in_turn(self, app: Arc<AppToken>, wanted: Wanted) -> Result<AccessToken, TokenFault> {
        let _turn = app.turn.lock().await;
        if let Some(token) = app.cached.load_full().filter(|token| wanted.is_met_by(token)) {
            return Ok(token.access_token.clone());
        }
        if let Some(fault) = app.recent_failure() {
            return self.take_shared(&app, &wanted).await.ok_or(fault);
        }
        let fetched = match (self.fetch_for_fleet(&app, &wanted).await, &wanted) {
            (Ok(token), Wanted::OtherThan { failed, refusal }) if token.access_token == *failed => {
                warn!(appid = %app.appid, errcode = refusal.errcode, "WeChat refuses the access token and gave the same one again");
                Err(TokenFault::StillRefused(refusal.clone()))
            }
            (fetched, _) => fetched,
        };
        match fetched {
            Ok(token) => {
                app.cached.store(Some(Arc::new(token.clone())));
                app.forget_failure();
                Ok(token.access_token)
            }
            Err(fault) => {
                app.remember(&fault);
                Err(fault)
            }
        }
    }

    /// What another worker has shared since this one failed: a failure keeps it from asking WeChat, not from looking.
    async fn take_shared(&self, app: &AppToken, wanted: &Wanted) -> Option<AccessToken> {
        let shared = self.0.store.token(&app.appid).await.ok()??;
        if !wanted.is_met_by(&shared) {
            return None;
        }
        let access_token = shared.access_token.clone();
        app.cached.store(Some(Arc::new(shared)));
        app.forget_failure();
        Some(access_token)
    }

    /// One at a time within the fleet; the others watch the store for what that one brings.
    async fn fetch_for_fleet(&self, app: &AppToken, wanted: &Wanted) -> Result<SharedToken, TokenFault> {
        let Inner { store, client, .. } = &*self.0;
        let owner = uuid::Uuid::now_v7().simple().to_string();
        let at_most = Instant::now() + (client.timeout() + LEAD) * 2;
        while Instant::now() < at_most {
            if let Some(token) = store.token(&app.appid).await?.filter(|token| wanted.is_met_by(token)) {
                return Ok(token);
            }
            if store.lead_refresh(&app.appid, &owner, LEAD).await? {
                return self.fetch_as_leader(app, wanted, &owner).await;
            }
            sleep(LOOK_EVERY).await;
        }
        Err(TokenFault::Awaited)
    }

    /// Looks once more, since the last leader may just have finished, then asks WeChat and shares what it gives.
    async fn fetch_as_leader(&self, app: &AppToken, wanted: &Wanted, owner: &str) -> Result<SharedToken, TokenFault> {
        let Inner { store, client, meters, .. } = &*self.0;
        if let Some(token) = store.token(&app.appid).await.ok().flatten().filter(|token| wanted.is_met_by(token)) {
            // Away now? The lead ends by itself.
            let _ = store.end_refresh(&app.appid, owner).await;
            return Ok(token);
        }
        let fetched = tokio::select! {
            fetched = app.source.fetch(client, &app.appid) => fetched,
            never = self.keep_lead(app, owner) => match never {},
        };
        match fetched {
            Ok(token) => {
                meters.token_fetched();
                // Away now? The token serves this worker all the same, and the lead ends by itself.
                let shared = store.share_token(&app.appid, owner, &token).await.unwrap_or(false);
                let life_s = (token.expires_at - token.fetched_at) / 1000;
                info!(appid = %app.appid, life_s, shared, "access token fetched");
                Ok(token)
            }
            Err(fault) => {
                warn!(appid = %app.appid, %fault, "no access token");
                // Away now? The lead ends by itself.
                let _ = store.end_refresh(&app.appid, owner).await;
                Err(fault)
            }
        }
    }

    /// Renews the lead for as long as this is polled.
    async fn keep_lead(&self, app: &AppToken, owner: &str) -> Infallible {
        loop {
            sleep(LEAD / 3).await;
            // Away, or overtaken? What is fetched serves this worker all the same.
            let _ = self.0.store.lead_refresh(&app.appid, owner, LEAD).await;
        }
    }
}

/// What went wrong last, and how often in a row.
pub(super) struct LastFailure {
    at: Instant,
    times: u32,
    fault: TokenFault,
}

impl AppToken {
    fn recent_failure(&self) -> Option<TokenFault> {
        let failed = self.failed.lock().expect("nothing panics while holding it");
        failed.as_ref().filter(|last| last.at.elapsed() < last.answers_for()).map(|last| last.fault.clone())
    }

    fn remember(&self, fault: &TokenFault) {
        if *fault == TokenFault::Awaited {
            return;
        }
        let mut failed = self.failed.lock().expect("nothing panics while holding it");
        let times = failed.as_ref().map_or(0, |last| last.times + 1);
        *failed = Some(LastFailure { at: Instant::now(), times, fault: fault.clone() });
    }

    fn forget_failure(&self) {
        *self.failed.lock().expect("nothing panics while holding it") = None;
    }
}

impl LastFailure {
    fn answers_for(&self) -> Duration {
        let passes = match &self.fault {
            TokenFault::Refused(refusal) => errcode::of_token(refusal.errcode) == TokenErrcode::Passing,
            TokenFault::StillRefused(_) | TokenFault::NoSecret(_) => false,
            TokenFault::Wechat(_) | TokenFault::Store | TokenFault::Awaited => true,
        };
        FAILURE_ANSWERS_FOR.pause(if passes { 0 } else { self.times }, 1.0)
    }
}

impl Wanted {
    fn is_met_by(&self, token: &SharedToken) -> bool {
        let now = clock::now_ms();
        match self {
            Self::Valid => now < token.expires_at,
            Self::OtherThan { failed, .. } => now < token.expires_at && token.access_token != *failed,
            Self::Fresh => now < early_from(token),
        }
    }
}

/// From when on a token is refreshed: with five minutes left, or a quarter of a life that is shorter.
pub(super) fn early_from(token: &SharedToken) -> UnixMs {
    let life_ms = token.expires_at.saturating_sub(token.fetched_at);
    token.expires_at.saturating_sub(EARLY_MS.min(life_ms / 4))
}
