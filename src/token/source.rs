//! Where an app's access token comes from.

use crate::clock;
use crate::login::AppId;
use crate::secret::Secret;
use crate::store::SharedToken;
use crate::token::TokenFault;
use crate::wechat::{Client, TokenReply};

/// Who gives out an app's token. Each source answers with the token and the end of its life.
#[derive(Debug, Clone)]
pub enum Source {
    /// `POST /cgi-bin/stable_token` in normal mode: the same token for all who ask, until it is nearly over.
    Stable {
        /// The AppSecret.
        secret: Secret,
    },
}

impl Source {
    /// Fetches the token of the moment.
    pub(super) async fn fetch(&self, client: &Client, appid: &AppId) -> Result<SharedToken, TokenFault> {
        let reply = match self {
            Self::Stable { secret } => client.stable_token(appid, secret).await,
        };
        match reply.map_err(TokenFault::Wechat)? {
            TokenReply::Refused(refusal) => Err(TokenFault::Refused(refusal)),
            TokenReply::Granted(grant) => {
                let now = clock::now_ms();
                let expires_at = now + grant.expires_in_s.saturating_mul(1000);
                Ok(SharedToken { access_token: grant.access_token, expires_at, fetched_at: now })
            }
        }
    }
}
