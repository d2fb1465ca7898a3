//! A token that another system owns: read where it keeps it, never fetched, never written.
//!
//! When WeChat refuses it, its owner has replaced it already or is about to: it is read again, for a moment, until it is
//! another one. Nothing here can end a token of others.

mod coded;
mod server;
mod value;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::login::{AppId, UnixMs};
use crate::secret::Secret;
use crate::store::{FoundKey, KeyKind, NoLook, RedisSettings, SharedToken, Store};
use crate::token::refresh::Wanted;
use crate::token::{KeptSecret, KnownApp, Parts, TokenFault, Tokens};
pub use server::TokenServer;
pub use value::{ExternalKey, KeyName, Preset, ValueFormat};

/// The owner has so long to show another token, counted from when WeChat's refusal was heard.
const OWNER_ACTS_WITHIN: Duration = Duration::from_secs(3);
/// Another system's Redis is connected in this time, or is away.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a token in memory is taken for the one that the owner shows.
const READ_EVERY_MS: UnixMs = 10_000;
/// A token without a known end is given WeChat's longest life; it is read again long before.
const LONGEST_LIFE_S: u64 = 7200;

/// Where the owner shows the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// A key in Redis.
    Key(ExternalKey),
    /// An HTTP address.
    Server(TokenServer),
}

/// Other systems' Redis servers, each connected when it is first wanted.
#[derive(Default)]
pub(super) struct ExternalStores(Mutex<HashMap<Secret, Store>>);

impl External {
    /// Until when the token need not be read again, in Unix ms.
    pub(super) fn fresh_until(token: &SharedToken) -> UnixMs {
        token.fetched_at + READ_EVERY_MS.min(token.expires_at.saturating_sub(token.fetched_at) / 2)
    }

    /// Where it is, in words, without anything secret.
    pub fn place(&self, appid: &AppId) -> String {
        match self {
            Self::Key(key) => format!("the Redis key {}", key.shown_name(appid)),
            Self::Server(server) => format!("the token server {}", server.host()),
        }
    }

    /// Whether it is a key in the fleet's own Redis, which then must be there.
    pub fn is_in_fleets_redis(&self) -> bool {
        matches!(self, Self::Key(ExternalKey { redis: None, .. }))
    }

    /// The app's AppSecret, if the name of its key is made of it.
    pub(super) fn secret(&self) -> Option<&KeptSecret> {
        match self {
            Self::Key(ExternalKey { name: KeyName::PowerWechat(secret), .. }) => Some(secret),
            Self::Key(_) | Self::Server(_) => None,
        }
    }

    pub(super) fn look_every(&self) -> Duration {
        match self {
            Self::Key(_) => Duration::from_millis(50),
            Self::Server(_) => Duration::from_millis(500),
        }
    }
}

impl Tokens {
    /// Reads the token until it will do, as long as its owner may be expected to act.
    pub(super) async fn read_external(
        &self,
        app: &KnownApp,
        external: &External,
        wanted: &Wanted,
    ) -> Result<SharedToken, TokenFault> {
        let until = Instant::now() + OWNER_ACTS_WITHIN;
        loop {
            let shown = self.look_at_external(app.appid(), external).await;
            match (&shown, wanted) {
                (Ok(token), _) if wanted.is_met_by(token, app.source()) => return shown,
                // Whoever wants another than the one that serves comes back later.
                (_, Wanted::Fresh | Wanted::New { .. }) => return shown,
                _ if Instant::now() < until => sleep(external.look_every()).await,
                (Ok(_), Wanted::OtherThan { refusal, .. }) => {
                    return Err(TokenFault::NotReplaced { answer: refusal.clone(), at: external.place(app.appid()) });
                }
                _ => return shown,
            }
        }
    }

    /// Reads it once.
    pub(super) async fn look_at_external(&self, appid: &AppId, external: &External) -> Result<SharedToken, TokenFault> {
        match external {
            External::Server(server) => self.ask_token_server(server).await,
            External::Key(key) => {
                let place = external.place(appid);
                let store = self.0.external.store(key.redis.as_ref(), &self.0.parts);
                let name = key.name(appid).map_err(TokenFault::NoSecret)?;
                let found = look_when_connected(&store, &name, &key.kind).await;
                let found = found.map_err(|no_look| not_seen(no_look, key, &name, &place))?;
                let found = found.ok_or_else(|| TokenFault::NotShown(format!("{place} holds no token")))?;
                let token = key.read(&found).map_err(|problem| TokenFault::NotShown(format!("{place} {problem}")))?;
                Ok(self.shared_from_now(token, LONGEST_LIFE_S))
            }
        }
    }
}

/// A store that was opened just now is not connected yet.
async fn look_when_connected(store: &Store, name: &str, kind: &KeyKind) -> Result<Option<FoundKey>, NoLook> {
    let until = Instant::now() + CONNECTS_WITHIN;
    loop {
        match store.look_at(name, kind).await {
            Err(NoLook::Away(_)) if Instant::now() < until => sleep(LOOK_AGAIN).await,
            looked => return looked,
        }
    }
}

impl ExternalStores {
    /// The store behind these settings; the fleet's own without any.
    fn store(&self, redis: Option<&RedisSettings>, parts: &Parts) -> Store {
        let Some(settings) = redis else { return parts.store.clone() };
        let mut stores = self.0.lock().expect("nothing panics while holding it");
        let open = || Store::redis(settings, &parts.tracker, parts.stop.clone()).expect("checked with the settings");
        stores.entry(settings.url.clone()).or_insert_with(open).clone()
    }
}

/// `name` may have a secret in it, and `place` has none.
fn not_seen(no_look: NoLook, key: &ExternalKey, name: &str, place: &str) -> TokenFault {
    match no_look {
        // The fleet's own: without it no login goes on, and none ends because of it.
        NoLook::Away(away) if key.redis.is_none() => away.into(),
        NoLook::Away(away) => TokenFault::OwnerAway(format!("{place} cannot be read: {away}")),
        NoLook::Unreadable(problem) => {
            TokenFault::NotShown(format!("{place} cannot be read: {}", problem.replace(name, "***")))
        }
    }
}
