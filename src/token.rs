//! The access token that the whole fleet shares: cached in memory, kept in the store, refreshed by one.
//!
//! A token that still serves is never thrown away before there is another: refreshing is compare-and-replace. Where
//! the token comes from is [`Source`]'s business; today that is WeChat's `stable_token` in normal mode.

mod refresh;
mod source;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use refresh::{LastFailure, Wanted, early_from};
pub use source::{AppSecret, Source};

use crate::clock;
use crate::login::{AppId, WechatAnswer};
use crate::meters::Meters;
use crate::store::{SharedToken, Store, StoreAway};
use crate::wechat::{AccessToken, Client, Fault};

/// Why no access token could be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// WeChat refused to give one.
    #[error("WeChat refused with errcode {}", .0.errcode)]
    Refused(WechatAnswer),
    /// WeChat refused a token and, asked for another, gave the same again. This is its refusal of the token.
    #[error("WeChat refuses its own token with errcode {}", .0.errcode)]
    StillRefused(WechatAnswer),
    /// The AppSecret cannot be read.
    #[error("the AppSecret cannot be read: {0}")]
    NoSecret(String),
    /// WeChat did not answer.
    #[error(transparent)]
    Wechat(Fault),
    /// The store that the fleet shares it in is away.
    #[error("the store is away")]
    Store,
    /// Somebody, here or in another worker, is fetching it, and time was up before it was there.
    #[error("it took too long to fetch")]
    Awaited,
}

/// An app and what proves that we may act for it.
#[derive(Debug, Clone)]
pub struct App {
    /// The mini program.
    pub appid: AppId,
    /// Where its access token comes from.
    pub source: Source,
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
    failed: Mutex<Option<LastFailure>>,
}

impl Tokens {
    /// The tokens of `apps`, shared through `store`, fetched through `client`.
    pub fn new(apps: Vec<App>, store: Store, client: Client, tracker: TaskTracker, meters: Meters) -> Self {
        let token = |app: App| {
            let token = AppToken {
                appid: app.appid.clone(),
                source: app.source,
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

    /// Whether there is only one app.
    pub fn is_only_one(&self) -> bool {
        self.0.apps.len() == 1
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
        let wanted = Wanted::OtherThan { failed: failed.clone(), refusal: refusal.clone() };
        self.fetch(&self.known(appid), wanted, until).await
    }

    fn known(&self, appid: &AppId) -> Arc<AppToken> {
        Arc::clone(self.0.apps.get(appid).expect("callers have the appid from `app`"))
    }
}

impl From<StoreAway> for TokenFault {
    fn from(_: StoreAway) -> Self {
        Self::Store
    }
}
