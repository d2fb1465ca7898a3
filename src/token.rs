//! The access token that the whole fleet shares: cached in memory, kept in the store, refreshed by one.
//!
//! A token that still serves is never thrown away before there is another: refreshing is compare-and-replace. Where
//! the token comes from is [`Source`]'s business; today that is WeChat's `stable_token` in normal mode.

mod source;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use source::Source;

use crate::clock;
use crate::login::{AppId, UnixMs, WechatAnswer};
use crate::meters::Meters;
use crate::secret::Secret;
use crate::store::{SharedToken, Store, StoreAway};
use crate::wechat::{AccessToken, Client, Fault};

/// A token is refreshed when less than this is left: WeChat then hands out the next one while the old one still works.
const EARLY_MS: u64 = 300_000;
/// How often one that waits for another worker's refresh looks for the token.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For so long the last failure answers those who come next, so that a thousand waiting logins ask once.
const FAILURE_ANSWERS_FOR: Duration = Duration::from_secs(1);

/// Why no access token could be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFault {
    /// WeChat refused to give one.
    Refused(WechatAnswer),
    /// WeChat refused a token and, asked for another, gave the same again. This is its refusal of the token.
    StillRefused(WechatAnswer),
    /// WeChat did not answer.
    Wechat(Fault),
    /// The store that the fleet shares it in is away.
    Store,
    /// Somebody, here or in another worker, is fetching it, and time was up before it was there.
    Awaited,
}

/// An app and what proves that we may act for it.
#[derive(Debug, Clone)]
pub struct App {
    /// The mini program.
    pub appid: AppId,
    /// Its AppSecret.
    pub secret: Secret,
}

/// The tokens of all configured apps. Cheap to clone; all clones share one cache.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    apps: HashMap<AppId, Arc<AppToken>>,
    store: Store,
    client: Client,
    tracker: TaskTracker,
    meters: Meters,
}

/// One app's token: what is in memory, and the turnstile that lets one refresh at a time.
struct AppToken {
    appid: AppId,
    source: Source,
    cached: ArcSwapOption<SharedToken>,
    turn: tokio::sync::Mutex<()>,
    failed: Mutex<Option<(Instant, TokenFault)>>,
}

/// Which token will do.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// Any that is still valid.
    Valid,
    /// Any that is still valid, other than this.
    OtherThan(&'a AccessToken),
    /// One that need not be refreshed yet.
    Fresh,
}

impl Tokens {
    /// The tokens of `apps`, shared through `store`, fetched through `client`.
    pub fn new(apps: Vec<App>, store: Store, client: Client, tracker: TaskTracker, meters: Meters) -> Self {
        let token = |app: App| {
            let token = AppToken {
                appid: app.appid.clone(),
                source: Source::Stable { secret: app.secret },
                cached: ArcSwapOption::empty(),
                turn: tokio::sync::Mutex::default(),
                failed: Mutex::default(),
            };
            (app.appid, Arc::new(token))
        };
        Self(Arc::new(Inner { apps: apps.into_iter().map(token).collect(), store, client, tracker, meters }))
    }

    /// The configured app of this id; without an id, the only configured one.
    pub fn app(&self, appid: Option<&AppId>) -> Option<AppId> {
        match appid {
            Some(appid) => self.0.apps.get(appid).map(|app| app.appid.clone()),
            None if self.0.apps.len() == 1 => self.0.apps.keys().next().cloned(),
            None => None,
        }
    }

    /// The app's token: from memory nearly always, else fetched within `until`.
    pub async fn current(&self, appid: &AppId, until: Instant) -> Result<AccessToken, TokenFault> {
        let app = self.known(appid);
        let now = clock::now_ms();
        match app.cached.load_full() {
            Some(token) if now < token.expires_at => {
                if now >= early_from(&token) {
                    self.refresh_early(&app);
                }
                Ok(token.access_token.clone())
            }
            _ => self.fetch(&app, Wanted::Valid, until).await,
        }
    }

    /// Another token than the one that WeChat refused: somebody else's newer one, or a fetched one.
    pub async fn replace(
        &self,
        appid: &AppId,
        failed: &AccessToken,
        refusal: &WechatAnswer,
        until: Instant,
    ) -> Result<AccessToken, TokenFault> {
        let app = self.known(appid);
        let token = self.fetch(&app, Wanted::OtherThan(failed), until).await?;
        if token == *failed {
            warn!(%appid, errcode = refusal.errcode, "WeChat refused the access token and gave the same one again");
            let fault = TokenFault::StillRefused(refusal.clone());
            app.remember(&fault);
            return Err(fault);
        }
        Ok(token)
    }

    fn known(&self, appid: &AppId) -> Arc<AppToken> {
        Arc::clone(self.0.apps.get(appid).expect("callers have the appid from `app`"))
    }

    /// Refreshes in the background while the old token goes on serving; one at a time.
    fn refresh_early(&self, app: &Arc<AppToken>) {
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
    async fn fetch(&self, app: &AppToken, wanted: Wanted<'_>, until: Instant) -> Result<AccessToken, TokenFault> {
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

    fn remember(&self, fault: &TokenFault) {
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
fn early_from(token: &SharedToken) -> UnixMs {
    let life_ms = token.expires_at.saturating_sub(token.fetched_at);
    token.expires_at.saturating_sub(EARLY_MS.min(life_ms / 4))
}

impl From<StoreAway> for TokenFault {
    fn from(_: StoreAway) -> Self {
        Self::Store
    }
}

impl std::fmt::Display for TokenFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "WeChat refused with errcode {}", refusal.errcode),
            Self::StillRefused(refusal) => write!(f, "WeChat refuses its own token with errcode {}", refusal.errcode),
            Self::Wechat(fault) => fault.fmt(f),
            Self::Store => f.write_str("the store is away"),
            Self::Awaited => f.write_str("it took too long to fetch"),
        }
    }
}
