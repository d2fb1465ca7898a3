//! A token server: an HTTP address of another system's that answers `{"access_token","expires_in"}`.

use reqwest::Url;

use crate::store::SharedToken;
use crate::token::external::coded;
use crate::token::{KeptSecret, TokenFault, Tokens};
use crate::wechat::{Fault, TokenReply};

/// Where a token server is, and what it is asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenServer {
    /// The address, `{appid}` filled in.
    pub url: Url,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<KeptSecret>,
}

impl TokenServer {
    /// Its name for people: a path or a query may hold a key.
    pub(super) fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl Tokens {
    pub(super) async fn ask_token_server(&self, server: &TokenServer) -> Result<SharedToken, TokenFault> {
        let bearer = server.bearer.as_ref().map(KeptSecret::read).transpose().map_err(TokenFault::NoSecret)?;
        let host = server.host();
        match self.0.parts.client.external_token(&server.url, bearer.as_ref()).await {
            Ok(TokenReply::Granted(grant)) if coded::is_like_a_token(grant.access_token.expose()) => {
                Ok(self.shared_from_now(grant.access_token, grant.expires_in_s))
            }
            Ok(TokenReply::Granted(_)) => {
                Err(TokenFault::NotShown(format!("the token server {host} answers what cannot be a token")))
            }
            Ok(TokenReply::Refused(answer)) => {
                Err(TokenFault::NotShown(format!("the token server {host} answers errcode {}", answer.errcode)))
            }
            Err(fault) => {
                let what = format!("the token server {host} {}", in_words(&fault));
                Err(if passes(&fault) { TokenFault::OwnerAway(what) } else { TokenFault::NotShown(what) })
            }
        }
    }
}

/// Whether it is away or busy, and not set up wrongly.
fn passes(fault: &Fault) -> bool {
    match fault {
        Fault::Unreachable(_) | Fault::Local(_) | Fault::Unheard(_) | Fault::Busy(_) | Fault::Throttled => true,
        Fault::Unreadable(_) => false,
    }
}

/// The client speaks of WeChat, which has no part in this.
fn in_words(fault: &Fault) -> String {
    match fault {
        Fault::Unreachable(why) => format!("cannot be reached: {why}"),
        Fault::Local(lack) => format!("was not asked: {lack}"),
        Fault::Unheard(why) => format!("was not heard: {why}"),
        Fault::Busy(status) => format!("answers HTTP {status}"),
        Fault::Throttled => "answers HTTP 429".into(),
        Fault::Unreadable(problem) => format!("answers something else: {problem}"),
    }
}
