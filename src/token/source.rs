//! Where an app's access token comes from, and how WeChat is asked for one.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use crate::clock;
use crate::login::{AppId, UnixMs};
use crate::secret::Secret;
use crate::store::{Renewal, SharedToken};
use crate::token::external::External;
use crate::token::{KeptSecret, TokenFault, Tokens};
use crate::wechat::{AccessToken, Fault, TokenReply};

/// A token is refreshed when less than this is left: WeChat then hands out the next one while the old one still works.
const EARLY_MS: UnixMs = 300_000;

/// A refused token that WeChat has given again is not asked for again within this.
const GIVEN_AGAIN_FOR: Duration = Duration::from_secs(2);

/// No token is believed to live longer: a token server may say any number.
const LONGEST_LIFE_S: u64 = 30 * 24 * 60 * 60;

/// Who gives out an app's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `POST /cgi-bin/stable_token` in normal mode: the same token for all who ask, until it is nearly over.
    Stable {
        /// What proves that we may act for the app.
        secret: KeptSecret,
        /// Whether a token that WeChat refuses and gives again may be replaced by force, inside the fleet's budget.
        may_force: bool,
    },
    /// `GET /cgi-bin/token`: a new token at each call, which ends the former one. For apps that cannot use the stable
    /// endpoint; whoever else calls it for the same app takes our token away.
    Classic {
        /// What proves that we may act for the app.
        secret: KeptSecret,
    },
    /// Another system owns the token; we only read it.
    External(External),
    /// The app is a merchant's, and has authorised a third-party platform to act for it.
    Authorizer(Platform),
    /// A third-party platform's own token, which those of its merchants are had with.
    Component(Platform),
}

/// A third-party platform that acts for its merchants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Its component_appid.
    pub appid: AppId,
    /// Its component_appsecret.
    pub secret: KeptSecret,
}

/// What came of asking for a token.
pub(super) struct Fetched {
    pub(super) token: SharedToken,
    /// The refresh token that came with it.
    pub(super) renewal: Option<Renewal>,
}

impl Source {
    /// The word for it in the settings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stable { .. } => "stable",
            Self::Classic { .. } => "classic",
            Self::External(_) => "external",
            Self::Authorizer(_) => "authorizer",
            Self::Component(_) => "component",
        }
    }

    /// Its word, and the platform that it goes through: what tells its tokens from those of other settings.
    pub(super) fn label(&self) -> String {
        match self.platform() {
            Some(platform) => format!("{} {}", self.as_str(), platform.appid),
            None => self.as_str().to_owned(),
        }
    }

    /// Whether a token may be one of its own. Those of other programs do not say.
    pub(super) fn may_have_given(&self, token: &SharedToken) -> bool {
        token.source.as_ref().is_none_or(|source| *source == self.label())
    }

    /// The AppSecret that it works with, where it is the app's own.
    pub fn secret(&self) -> Option<&KeptSecret> {
        match self {
            Self::Stable { secret, .. } | Self::Classic { secret } => Some(secret),
            Self::External(_) | Self::Authorizer(_) | Self::Component(_) => None,
        }
    }

    /// The AppSecret that it works with, and whose it is: the app's own, or its third-party platform's. None if another
    /// system has it.
    pub fn app_secret<'a>(&'a self, appid: &'a AppId) -> Option<(&'a AppId, &'a KeptSecret)> {
        match self {
            Self::Stable { secret, .. } | Self::Classic { secret } => Some((appid, secret)),
            Self::Authorizer(platform) | Self::Component(platform) => Some((&platform.appid, &platform.secret)),
            Self::External(external) => external.secret().map(|secret| (appid, secret)),
        }
    }

    /// The third-party platform that it goes through.
    pub fn platform(&self) -> Option<&Platform> {
        match self {
            Self::Authorizer(platform) => Some(platform),
            _ => None,
        }
    }

    /// Until when a token need not be refreshed, in Unix ms: until five minutes are left, or a quarter of a life that is
    /// shorter.
    pub(super) fn fresh_until(&self, token: &SharedToken) -> UnixMs {
        if let Self::External(_) = self {
            return External::fresh_until(token);
        }
        let life_ms = token.expires_at.saturating_sub(token.fetched_at);
        token.expires_at.saturating_sub(EARLY_MS.min(life_ms / 4))
    }

    /// How long it need not be looked whether there is another token than one that was refused and given again.
    pub(super) fn given_again_for(&self) -> Duration {
        match self {
            Self::External(external) => external.look_every(),
            _ => GIVEN_AGAIN_FOR,
        }
    }

    /// Whether each call makes a new token, and ends the former one.
    pub(super) fn mints(&self) -> bool {
        matches!(self, Self::Classic { .. } | Self::Authorizer(_) | Self::Component(_))
    }

    pub(super) fn may_force(&self) -> bool {
        matches!(self, Self::Stable { may_force: true, .. })
    }

    /// What WeChat is asked with, as a digest that tells one from another and gives nothing away.
    pub(super) fn credentials(&self) -> String {
        let secret = match self {
            Self::Stable { secret, .. } | Self::Classic { secret } => secret.read().ok(),
            Self::Authorizer(platform) | Self::Component(platform) => platform.secret.read().ok(),
            Self::External(_) => None,
        };
        let platform = self.platform().map_or("", |platform| platform.appid.as_str());
        let secret = secret.as_ref().map_or("", Secret::expose);
        let sum = digest(&SHA256, format!("{}\0{platform}\0{secret}", self.as_str()).as_bytes());
        sum.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Tokens {
    /// Asks WeChat for the app's token of the moment; for a new one that ends it, where that is forced.
    pub(super) async fn ask_for_token(
        &self,
        appid: &AppId,
        source: &Source,
        force: bool,
    ) -> Result<Fetched, TokenFault> {
        let client = &self.0.parts.client;
        let reply = match source {
            Source::Stable { secret, .. } => {
                let secret = secret.read().map_err(TokenFault::NoSecret)?;
                client.stable_token(appid, &secret, force).await
            }
            Source::Classic { secret } => {
                let secret = secret.read().map_err(TokenFault::NoSecret)?;
                client.classic_token(appid, &secret).await
            }
            Source::Component(platform) => self.ask_for_component_token(platform).await?,
            Source::Authorizer(platform) => return self.ask_for_authorizer_token(appid, platform).await,
            Source::External(_) => unreachable!("a token of others is read, never asked for"),
        };
        Ok(Fetched { token: self.granted(reply)?, renewal: None })
    }

    /// A token whose life begins now.
    fn granted(&self, reply: Result<TokenReply, Fault>) -> Result<SharedToken, TokenFault> {
        match reply.map_err(TokenFault::Wechat)? {
            TokenReply::Refused(refusal) => Err(TokenFault::Refused(refusal)),
            TokenReply::Granted(grant) => Ok(self.shared_from_now(grant.access_token, grant.expires_in_s)),
        }
    }

    pub(super) fn shared_from_now(&self, access_token: AccessToken, expires_in_s: u64) -> SharedToken {
        let now = clock::now_ms();
        let expires_at = now + expires_in_s.min(LONGEST_LIFE_S) * 1000;
        let fetched_by = Some(self.0.parts.name.clone());
        SharedToken { access_token, expires_at, fetched_at: now, fetched_by, source: None }
    }
}
