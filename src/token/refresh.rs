//! Getting another token: one at a time in this worker, one at a time in the fleet, and the old one serves meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use crate::clock;
use crate::login::UnixMs;
use crate::store::SharedToken;
use crate::token::{AppToken, Inner, TokenFault, Tokens};
use crate::wechat::AccessToken;

/// A token is refreshed when less than this is left: WeChat then hands out the next one while the old one still works.
const EARLY_MS: u64 = 300_000;
/// How often one that waits for another worker's refresh looks for the token.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For so long the last failure answers those who come next, so that a thousand waiting logins ask once.
const FAILURE_ANSWERS_FOR: Duration = Duration::from_secs(1);

/// Which token will do.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Any that is still valid.
    Valid,
    /// Any that is still valid, other than this.
    OtherThan(&'a AccessToken),
    /// One that need not be refreshed yet.
    Fresh,
}

impl Tokens {
    /// Refreshes in the background while the old token goes on serving; one at a time.
    pub(super) fn refresh_early(&self, app: &Arc<AppToken>) {
        if app.turn.try_lock().is_err() || app.recent_failure().is_some() {
            return;
        }
        let (tokens, app) = (self.clone(), Arc::clone(app));
        self.0.tracker.spawn(async move {
            let until = Instant::now() + tokens.0.client.timeout() * 2;
            if let Err(fault) = tokens.fetch(&app, Wanted::Fresh, until).await {
                debug!(appid = %app.appid, ?fault, "the access token was not refreshed; the old one still serves");
            }
        });
    }

    /// One at a time within this worker; those who waited take what the first one brought.
    pub(super) async fn fetch(
        &self,
        app: &AppToken,
        wanted: Wanted<'_>,
        until: Instant,
    ) -> Result<AccessToken, TokenFault> {
        let _turn = timeout_at(until, app.turn.lock()).await.map_err(|_| TokenFault::Awaited)?;
        if let Some(token) = app.cached.load_full().filter(|token| wanted.is_met_by(token)) {
            return Ok(token.access_token.clone());
        }
        if let Some(fault) = app.recent_failure() {
            return Err(fault);
        }
        let fetched = timeout_at(until, self.fetch_for_fleet(app, wanted)).await.unwrap_or(Err(TokenFault::Awaited));
        match fetched {
            Ok(token) => {
                app.cached.store(Some(Arc::new(token.clone())));
                Ok(token.access_token)
            }
            Err(fault) => {
                app.remember(&fault);
                Err(fault)
            }
        }
    }

    /// One at a time within the fleet; the others watch the store for what that one brings.
    async fn fetch_for_fleet(&self, app: &AppToken, wanted: Wanted<'_>) -> Result<SharedToken, TokenFault> {
        let Inner { store, client, .. } = &*self.0;
        let owner = uuid::Uuid::now_v7().simple().to_string();
        let lease = client.timeout() + Duration::from_secs(1);
        loop {
            if let Some(token) = store.token(&app.appid).await?.filter(|token| wanted.is_met_by(token)) {
                return Ok(token);
            }
            if store.lead_refresh(&app.appid, &owner, lease).await? {
                return self.fetch_as_leader(app, wanted, &owner).await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Looks once more, since the last leader may just have finished, then asks WeChat and shares what it gives.
    async fn fetch_as_leader(
        &self,
        app: &AppToken,
        wanted: Wanted<'_>,
        owner: &str,
    ) -> Result<SharedToken, TokenFault> {
        let Inner { store, client, meters, .. } = &*self.0;
        if let Some(token) = store.token(&app.appid).await.ok().flatten().filter(|token| wanted.is_met_by(token)) {
            store.end_refresh(&app.appid, owner).await?;
            return Ok(token);
        }
        match app.source.fetch(client, &app.appid).await {
            Ok(token) => {
                meters.token_fetched();
                // Away now? The token serves this worker all the same, and the lead ends by itself.
                let shared = store.share_token(&app.appid, owner, &token).await.is_ok();
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
}

impl AppToken {
    fn recent_failure(&self) -> Option<TokenFault> {
        let failed = self.failed.lock().expect("nothing panics while holding it");
        failed.as_ref().filter(|(at, _)| at.elapsed() < FAILURE_ANSWERS_FOR).map(|(_, fault)| fault.clone())
    }

    pub(super) fn remember(&self, fault: &TokenFault) {
        if *fault != TokenFault::Awaited {
            *self.failed.lock().expect("nothing panics while holding it") = Some((Instant::now(), fault.clone()));
        }
    }
}

impl Wanted<'_> {
    fn is_met_by(self, token: &SharedToken) -> bool {
        let now = clock::now_ms();
        match self {
            Self::Valid => now < token.expires_at,
            Self::OtherThan(failed) => now < token.expires_at && token.access_token != *failed,
            Self::Fresh => now < early_from(token),
        }
    }
}

/// From when on a token is refreshed: with five minutes left, or a quarter of a life that is shorter.
pub(super) fn early_from(token: &SharedToken) -> UnixMs {
    let life_ms = token.expires_at.saturating_sub(token.fetched_at);
    token.expires_at.saturating_sub(EARLY_MS.min(life_ms / 4))
}
