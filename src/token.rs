//! The access token that the whole fleet shares: cached in memory, kept in the store, refreshed by one.
//!
//! A token that still serves is never thrown away before there is another: refreshing is compare-and-replace. Where the
//! token comes from is [`Source`]'s business: WeChat for the app's own secret, a third-party platform (`authorizer`), or
//! another system, whose token is only read (`external`). Getting one, at most one at a time, is in `refresh` for a worker,
//! and in `fleet` for all of them; [`Seen`] is what an operator may see.

mod authorizer;
mod budgets;
mod external;
mod fault;
mod fleet;
mod refresh;
mod refused;
mod secrets;
mod seen;
mod source;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use external::ExternalStores;
pub use external::{External, ExternalKey, KeyName, Preset, TokenServer, ValueFormat};
pub use fault::TokenFault;
use refresh::Wanted;
use refused::RefusedToken;
pub use secrets::{KeptSecret, check_secret};
pub use seen::{Seen, SeenToken};
pub use source::{Platform, Source};
pub use trouble::Trouble;

use crate::breaker::Breaker;
use crate::clock;
use crate::login::{AppId, UnixMs, WechatAnswer};
use crate::meters::Meters;
use crate::store::{SharedToken, Store};
use crate::wechat::{AccessToken, Client};

/// An app and where its access token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The mini program.
    pub appid: AppId,
    /// Where its access token comes from.
    pub source: Source,
}

/// What tokens are got and shared with.
pub struct Parts {
    /// What the fleet shares them in.
    pub store: Store,
    /// WeChat.
    pub client: Client,
    /// Fetching goes on here when the login that began it has no more time.
    pub tracker: TaskTracker,
    /// Ends what is connected in the background.
    pub stop: CancellationToken,
    /// What is counted.
    pub meters: Meters,
    /// This worker's name, which the others see beside the token that it fetched.
    pub name: String,
}

/// The tokens of all configured apps. Cheap to clone; all clones share one cache.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    known: ArcSwap<Known>,
    external: ExternalStores,
    parts: Parts,
}

/// The apps of the moment, and the third-party platforms that some of their tokens come from.
#[derive(Default)]
struct Known {
    apps: HashMap<AppId, KnownApp>,
    platforms: HashMap<AppId, KnownApp>,
}

/// A configured app; cheap to clone. Stays good for a login in hand when the app is no longer configured.
#[derive(Clone)]
pub struct KnownApp(Arc<AppState>);

/// One app's token: what is in memory, and the turnstile that lets one refresh at a time.
struct AppState {
    app: App,
    cached: ArcSwapOption<Cached>,
    turn: tokio::sync::Mutex<()>,
    /// Open while no token can be had.
    fetching: Breaker<TokenFault>,
    /// The last refusal of the fleet's that this worker knows of.
    known_refusal: Mutex<Option<String>>,
    /// What operators are told.
    troubles: trouble::Troubles,
    /// What is known of the token that WeChat refused last.
    refused: RefusedToken,
}

/// A token in memory.
struct Cached {
    token: SharedToken,
    /// From then on it is refreshed, in Unix ms; spread, so that a fleet does not do it all at once.
    refresh_from: UnixMs,
}

impl Tokens {
    /// The tokens of `apps`.
    pub fn new(apps: Vec<App>, parts: Parts) -> Self {
        let tokens = Self(Arc::new(Inner { known: ArcSwap::default(), external: ExternalStores::default(), parts }));
        tokens.configure(apps);
        tokens
    }

    /// Knows these apps from now on, and no others. Whatever stays as it was keeps its token; what could not be had is
    /// tried anew.
    pub fn configure(&self, apps: Vec<App>) {
        let before = self.0.known.load();
        let mut known = Known::default();
        for app in apps {
            if let Some(platform) = app.source.platform() {
                let component = App { appid: platform.appid.clone(), source: Source::Component(platform.clone()) };
                known.platforms.insert(component.appid.clone(), before.platforms.kept_or_new(component));
            }
            known.apps.insert(app.appid.clone(), before.apps.kept_or_new(app));
        }
        self.0.known.store(Arc::new(known));
    }

    /// The configured app of this id; without an id, the only configured one.
    pub fn app(&self, appid: Option<&AppId>) -> Option<KnownApp> {
        let apps = &self.0.known.load().apps;
        match appid {
            Some(appid) => apps.get(appid).cloned(),
            None if apps.len() == 1 => apps.values().next().cloned(),
            None => None,
        }
    }

    /// Whether there is only one app.
    pub fn is_only_one(&self) -> bool {
        self.0.known.load().apps.len() == 1
    }

    /// All configured apps, in the order of their ids.
    pub fn apps(&self) -> Vec<KnownApp> {
        let mut apps: Vec<_> = self.0.known.load().apps.values().cloned().collect();
        apps.sort_by(|one, other| one.appid().cmp(other.appid()));
        apps
    }

    /// The app's token: from memory nearly always, else fetched within `until`.
    pub async fn current(&self, app: &KnownApp, until: Instant) -> Result<AccessToken, TokenFault> {
        let now = clock::now_ms();
        if let Some(cached) = app.0.cached.load().as_deref().filter(|cached| now < cached.token.expires_at) {
            if now >= cached.refresh_from {
                self.refresh_early(app);
            }
            return Ok(cached.token.access_token.clone());
        }
        self.fetch(app, Wanted::Valid, until).await
    }

    /// Another token than the one that WeChat refused: somebody else's newer one, or a fetched one. Sometimes WeChat
    /// refuses a token that is good, gives the same one again, and takes it a moment later. So a login that
    /// `may_ask_again` gets the same one, too, until it is known that this is no flicker.
    pub async fn replace(
        &self,
        app: &KnownApp,
        failed: &AccessToken,
        refusal: &WechatAnswer,
        may_ask_again: bool,
        until: Instant,
    ) -> Result<AccessToken, TokenFault> {
        app.0.troubles.refused(failed, refusal);
        let now = Instant::now();
        let again = app.0.refused.note(failed, may_ask_again, now);
        if again && app.0.refused.was_given_again(failed, now, app.source().given_again_for()) {
            return Ok(app.newer_than(failed).unwrap_or_else(|| failed.clone()));
        }
        let known = app.0.cached.load().as_deref().map_or(0, |cached| cached.token.fetched_at);
        let again = again.then_some(known);
        let wanted = Wanted::OtherThan { failed: failed.clone(), refusal: refusal.clone(), again };
        let token = self.fetch(app, wanted, until).await?;
        if token == *failed {
            app.0.refused.give_again(failed, Instant::now());
        }
        Ok(token)
    }

    /// Refreshes now, because an operator says so, and shares the token. `force`: ends the former one, inside the fleet's
    /// budget.
    pub async fn refresh(&self, app: &KnownApp, force: bool, until: Instant) -> Result<AccessToken, TokenFault> {
        self.fetch(app, Wanted::New { force }, until).await
    }
}

impl KnownApp {
    fn new(app: App) -> Self {
        Self(Arc::new(AppState {
            app,
            cached: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::default(),
            fetching: Breaker::default(),
            known_refusal: Mutex::default(),
            troubles: trouble::Troubles::default(),
            refused: RefusedToken::default(),
        }))
    }

    /// WeChat has taken this token.
    pub fn serves(&self, token: &AccessToken) {
        if !self.0.refused.is_any() {
            return;
        }
        self.0.troubles.served(token);
        if self.0.refused.serve(token, Instant::now())
            && self.0.fetching.fault().is_some_and(|fault| fault.is_of_token())
        {
            self.0.fetching.close();
        }
    }

    /// A token in memory that is valid, and another one than this.
    fn newer_than(&self, failed: &AccessToken) -> Option<AccessToken> {
        let cached = self.0.cached.load_full()?;
        let is_newer = clock::now_ms() < cached.token.expires_at && cached.token.access_token != *failed;
        is_newer.then(|| cached.token.access_token.clone())
    }

    /// The mini program.
    pub fn appid(&self) -> &AppId {
        &self.0.app.appid
    }

    /// Where its token comes from.
    pub fn source(&self) -> &Source {
        &self.0.app.source
    }
}

impl fmt::Debug for KnownApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.appid().fmt(f)
    }
}

/// What is known of apps, by id.
trait KeptOrNew {
    /// The app as it is known, if nothing about it has changed; else anew.
    fn kept_or_new(&self, app: App) -> KnownApp;
}

impl KeptOrNew for HashMap<AppId, KnownApp> {
    fn kept_or_new(&self, app: App) -> KnownApp {
        match self.get(&app.appid).filter(|known| known.0.app == app) {
            Some(known) => {
                known.0.fetching.close();
                known.clone()
            }
            None => KnownApp::new(app),
        }
    }
}
