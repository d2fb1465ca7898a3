//! Where an app's access token comes from.

use std::path::PathBuf;

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
        /// What proves that we may act for the app.
        secret: AppSecret,
    },
    /// `GET /cgi-bin/token`: a new token at each call, which ends the former one. For apps that cannot use the stable
    /// endpoint; whoever else calls it for the same app takes our token away.
    Classic {
        /// What proves that we may act for the app.
        secret: AppSecret,
    },
}

/// An AppSecret, or where it is kept.
#[derive(Debug, Clone)]
pub enum AppSecret {
    /// As it stands in the settings.
    Text(Secret),
    /// In a file, read again for each token, so that a corrected secret needs no restart.
    File(PathBuf),
}

impl AppSecret {
    /// The secret of the moment. The error says which file, never what is in it.
    pub fn read(&self) -> Result<Secret, String> {
        let file = match self {
            Self::Text(secret) => return Ok(secret.clone()),
            Self::File(file) => file,
        };
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        match text.trim() {
            "" => Err(format!("{} is empty", file.display())),
            secret => Ok(Secret::from(secret)),
        }
    }
}

impl Source {
    /// The AppSecret that it works with.
    pub fn secret(&self) -> &AppSecret {
        match self {
            Self::Stable { secret } | Self::Classic { secret } => secret,
        }
    }

    /// Fetches the token of the moment.
    pub(super) async fn fetch(&self, client: &Client, appid: &AppId) -> Result<SharedToken, TokenFault> {
        let reply = match self {
            Self::Stable { secret } => {
                let secret = secret.read().map_err(TokenFault::NoSecret)?;
                client.stable_token(appid, &secret).await
            }
            Self::Classic { secret } => {
                let secret = secret.read().map_err(TokenFault::NoSecret)?;
                client.classic_token(appid, &secret).await
            }
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
