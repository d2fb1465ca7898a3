//! What an operator may see of an app's token: everything about it but the token.

use crate::clock;
use crate::login::{AppId, UnixMs, WechatAnswer};
use crate::store::{SharedState, StoreAway};
use crate::token::trouble::digest_of;
use crate::token::{KnownApp, Source, TokenFault, Tokens};

/// What is known of an app's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The mini program.
    pub appid: AppId,
    /// The word for its source in the settings.
    pub source: &'static str,
    /// Where it is read, or by way of which platform it is had.
    pub by_way_of: Option<String>,
    /// The token, if there is one that is valid.
    pub token: Option<SeenToken>,
    /// Why WeChat gave no newer one, and how often in a row it said so.
    pub refusal: Option<(WechatAnswer, u32)>,
    /// What else stands in the way.
    pub problem: Option<String>,
}

/// When a token was had, by whom, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenToken {
    /// In Unix ms; none where another system owns it.
    pub fetched_at: Option<UnixMs>,
    /// In Unix ms; none where another system owns it.
    pub expires_at: Option<UnixMs>,
    /// Which worker fetched it.
    pub fetched_by: Option<String>,
    /// The beginning of its digest: a worker names a token that WeChat refused by the same.
    pub digest: String,
}

impl Tokens {
    /// What the fleet has of this app's token, or what its owner shows.
    pub async fn see(&self, app: &KnownApp) -> Result<Seen, StoreAway> {
        let mut seen = Seen {
            appid: app.appid().clone(),
            source: app.source().as_str(),
            by_way_of: None,
            token: None,
            refusal: None,
            problem: None,
        };
        if let Source::External(external) = app.source() {
            seen.by_way_of = Some(external.place(app.appid()));
            match self.look_at_external(app.appid(), external).await {
                Ok(token) => {
                    let digest = digest_of(&token.access_token);
                    seen.token = Some(SeenToken { fetched_at: None, expires_at: None, fetched_by: None, digest });
                }
                Err(fault) => seen.problem = Some(fault.to_string()),
            }
            return Ok(seen);
        }
        let SharedState { token, refusal } = self.0.parts.store.shared_token(app.appid()).await?;
        let valid = token.filter(|token| clock::now_ms() < token.expires_at);
        seen.token = valid.map(|token| SeenToken {
            fetched_at: Some(token.fetched_at),
            expires_at: Some(token.expires_at),
            fetched_by: token.fetched_by,
            digest: digest_of(&token.access_token),
        });
        seen.refusal = refusal.map(|refusal| (refusal.answer, refusal.times));
        if let Some(platform) = app.source().platform() {
            seen.by_way_of = Some(format!("platform {}", platform.appid));
            if self.0.parts.store.ticket(&platform.appid).await?.is_none() {
                seen.problem = Some(TokenFault::NoTicket(platform.appid.clone()).to_string());
            }
        }
        Ok(seen)
    }
}
