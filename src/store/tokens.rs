//! What the fleet shares of its apps' access tokens: the token, who refreshes it, why WeChat gave none, and the refresh
//! tokens of third-party platforms, with WeChat's tickets. And a look, never more, at the keys of others.

use std::fmt;
use std::time::Duration;

use crate::clock;
use crate::login::{AppId, UnixMs, WechatAnswer};
use crate::secret::Secret;
use crate::store::{Store, StoreAway};
use crate::wechat::AccessToken;

/// How long WeChat takes a ticket, and so how long one is kept.
pub(super) const TICKET_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// A ticket cannot have been made later than this from now: by so much clocks may differ.
const TICKET_AHEAD_MOST_S: u64 = 5 * 60;

/// An access token as the fleet shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedToken {
    /// The token.
    pub access_token: AccessToken,
    /// When it ends, in Unix ms.
    pub expires_at: UnixMs,
    /// When it was fetched, in Unix ms.
    pub fetched_at: UnixMs,
    /// Which worker fetched it; none where another program did.
    pub fetched_by: Option<String>,
    /// Where it came from, as the settings have it; none where another program does not say.
    pub source: Option<String>,
}

/// WeChat's last refusal to give a token, as one worker tells the others, so that the fleet asks once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedRefusal {
    /// Unlike that of any other refusal.
    pub id: String,
    /// What WeChat was asked with, as a digest: those who would ask with something else need not care.
    pub credentials: String,
    /// What WeChat said.
    pub answer: WechatAnswer,
    /// Whether it gave a token, but the very one that it refuses.
    pub same_token: bool,
    /// How often in a row.
    pub times: u32,
    /// When it said so, in Unix ms.
    pub heard_at: UnixMs,
}

/// What the fleet knows of an app's token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedState {
    /// The token, valid or not.
    pub token: Option<SharedToken>,
    /// Why there is no newer one.
    pub refusal: Option<SharedRefusal>,
}

/// A merchant's refresh token, which replaces the one that it was had with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The third-party platform that it is worth something for.
    pub platform: AppId,
    /// The one that was in the store.
    pub former: Option<Secret>,
    /// The one that WeChat returned.
    pub refresh_token: Secret,
}

/// How often the fleet may do something for an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// What it is spent on; a part of its key.
    pub name: &'static str,
    /// At most so many times.
    pub most: u32,
    /// In so long.
    pub within: Duration,
    /// And so far apart.
    pub apart: Duration,
}

/// What sort of key another system keeps its token in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// A string.
    Text,
    /// A field of a hash, and the one that says when it ends, in Unix ms.
    Hash {
        /// The token's.
        field: String,
        /// The end's, if there is one.
        ends: Option<String>,
    },
}

/// What stands in another system's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// What is in it.
    pub value: ExternalValue,
    /// When it ends, in Unix ms, as a field of a hash says.
    pub ends_at_ms: Option<UnixMs>,
}

/// Another system's key was not seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoLook {
    /// Its store is away, which passes.
    #[error(transparent)]
    Away(StoreAway),
    /// It is of another sort, or not for us, which somebody has to mend.
    #[error("{0}")]
    Unreadable(String),
}

/// What another system wrote: a token, somehow. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalValue(pub Vec<u8>);

impl fmt::Debug for ExternalValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Store {
    /// The app's shared token, and why there is no newer one.
    pub async fn shared_token(&self, appid: &AppId) -> Result<SharedState, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("shared_token", appid, |memory| memory.shared_token(appid)).await,
            Self::Redis(redis) => redis.shared_token(appid).await,
        }
    }

    /// Makes or keeps `leader` the one that refreshes the app's token, for at most `lease`. False: someone else is at it.
    pub async fn lead_refresh(&self, appid: &AppId, leader: &str, lease: Duration) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(memory) => {
                memory.reach("lead_refresh", appid, |memory| memory.lead_refresh(appid, leader, lease)).await
            }
            Self::Redis(redis) => redis.lead_refresh(appid, leader, lease).await,
        }
    }

    /// Shares a fresh token with the fleet, forgets the last refusal and ends the lead. False: `leader` leads no more, and
    /// the token is not shared; a renewed refresh token is kept all the same, unless another has replaced the former one.
    pub async fn share_token(
        &self,
        appid: &AppId,
        leader: &str,
        token: &SharedToken,
        renewal: Option<&Renewal>,
    ) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(memory) => {
                memory.reach("share_token", appid, |memory| memory.share_token(appid, leader, token, renewal)).await
            }
            Self::Redis(redis) => redis.share_token(appid, leader, token, renewal).await,
        }
    }

    /// Ends the lead without a token; the others are told why, where `refusal` says so.
    pub async fn end_refresh(
        &self,
        appid: &AppId,
        leader: &str,
        refusal: Option<&SharedRefusal>,
    ) -> Result<(), StoreAway> {
        match self {
            Self::Memory(memory) => {
                memory.reach("end_refresh", appid, |memory| memory.end_refresh(appid, leader, refusal)).await
            }
            Self::Redis(redis) => redis.end_refresh(appid, leader, refusal).await,
        }
    }

    /// The merchant's refresh token for this platform, where one was ever had.
    pub async fn refresh_token(&self, appid: &AppId, platform: &AppId) -> Result<Option<Secret>, StoreAway> {
        match self {
            Self::Memory(memory) => {
                memory.reach("refresh_token", appid, |memory| memory.refresh_token(appid, platform)).await
            }
            Self::Redis(redis) => redis.refresh_token(appid, platform).await,
        }
    }

    /// Keeps a platform's ticket for twelve hours from now. False: the one that is there is newer, and stays. Both by
    /// when WeChat made them, in Unix s, since pushes come late, twice, and perhaps from somebody who recorded one. A time
    /// in the future counts as now, and a ticket of such a time that is there already as older than any.
    pub async fn keep_ticket(&self, platform: &AppId, ticket: &Secret, created_s: u64) -> Result<bool, StoreAway> {
        let now_s = clock::now_ms() / 1000;
        let latest_s = now_s + TICKET_AHEAD_MOST_S;
        let created_s = if created_s > latest_s { now_s } else { created_s };
        match self {
            Self::Memory(memory) => {
                let keep = |memory: &super::Memory| memory.keep_ticket(platform, ticket, created_s, latest_s);
                memory.reach("keep_ticket", platform, keep).await
            }
            Self::Redis(redis) => redis.keep_ticket(platform, ticket, created_s, latest_s).await,
        }
    }

    /// The platform's newest ticket, while it may still be taken.
    pub async fn ticket(&self, platform: &AppId) -> Result<Option<Secret>, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("ticket", platform, |memory| memory.ticket(platform)).await,
            Self::Redis(redis) => redis.ticket(platform).await,
        }
    }

    /// Whether something is left of the fleet's budget for this app, regardless of how far apart.
    pub async fn has_left(&self, appid: &AppId, budget: &Budget) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("has_left", appid, |memory| memory.has_left(appid, budget)).await,
            Self::Redis(redis) => redis.has_left(appid, budget).await,
        }
    }

    /// Takes one call out of the fleet's budget for this app. False: there is none.
    pub async fn spend(&self, appid: &AppId, budget: &Budget) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(memory) => memory.reach("spend", appid, |memory| memory.spend(appid, budget)).await,
            Self::Redis(redis) => redis.spend(appid, budget).await,
        }
    }

    /// Looks at another system's key. There is no verb that writes one.
    pub async fn look_at(&self, key: &str, kind: &KeyKind) -> Result<Option<FoundKey>, NoLook> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Redis(redis) => redis.look_at(key, kind).await,
        }
    }
}
