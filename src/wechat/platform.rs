//! The calls of a third-party platform: its own token, its merchants' tokens, the list of its merchants, and the one that
//! has tickets pushed to it.
//!
//! WeChat's documents call a platform "component" and a merchant "authorizer". Here those words stand for their tokens
//! and for WeChat's own names alone. Source: its documents of the open platform, "ticket-token".

use reqwest::Url;
use serde::Serialize;

use crate::login::{AppId, WechatAnswer};
use crate::secret::Secret;
use crate::wechat::answer::{self, TokenGrant, TokenReply};
use crate::wechat::endpoint::Endpoint;
use crate::wechat::{AccessToken, Client, ClientError, Fault};

/// The paths at each host.
pub(super) struct Endpoints {
    component_token: Endpoint,
    authorizer_token: Endpoint,
    merchants: Endpoint,
    start_push: Endpoint,
}

/// WeChat's answer to a request for a merchant's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizerReply {
    /// A token, and the refresh token to ask with the next time, if WeChat said one.
    Granted {
        /// The merchant's token.
        grant: TokenGrant,
        /// The refresh token from now on.
        refresh_token: Option<Secret>,
    },
    /// An errcode other than 0.
    Refused(WechatAnswer),
}

/// WeChat's answer to a request for a part of a platform's merchants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MerchantsReply {
    /// Appids, with the refresh token of each. Both may be empty: an entry that says nothing still counts as one.
    Listed(Vec<(String, Secret)>),
    /// An errcode other than 0.
    Refused(WechatAnswer),
}

impl Endpoints {
    pub(super) fn new(hosts: &[Url]) -> Result<Self, ClientError> {
        Ok(Self {
            component_token: Endpoint::new(hosts, "cgi-bin/component/api_component_token")?,
            authorizer_token: Endpoint::new(hosts, "cgi-bin/component/api_authorizer_token")?,
            merchants: Endpoint::new(hosts, "cgi-bin/component/api_get_authorizer_list")?,
            start_push: Endpoint::new(hosts, "cgi-bin/component/api_start_push_ticket")?,
        })
    }
}

impl Client {
    /// Asks for a third-party platform's own token. `ticket` is the last component_verify_ticket that WeChat has pushed.
    pub async fn component_token(
        &self,
        platform: &AppId,
        secret: &Secret,
        ticket: &Secret,
    ) -> Result<TokenReply, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            component_appid: &'a str,
            component_appsecret: &'a str,
            component_verify_ticket: &'a str,
        }
        let body = Body {
            component_appid: platform.as_str(),
            component_appsecret: secret.expose(),
            component_verify_ticket: ticket.expose(),
        };
        let heard = self.post(&self.0.platform.component_token, &[], &body).await?;
        answer::read_token(&heard, &[secret.expose(), ticket.expose()])
    }

    /// Asks for the token of a merchant that has authorised the platform.
    pub async fn authorizer_token(
        &self,
        component_token: &AccessToken,
        platform: &AppId,
        merchant: &AppId,
        refresh_token: &Secret,
    ) -> Result<AuthorizerReply, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            component_appid: &'a str,
            authorizer_appid: &'a str,
            authorizer_refresh_token: &'a str,
        }
        let body = Body {
            component_appid: platform.as_str(),
            authorizer_appid: merchant.as_str(),
            authorizer_refresh_token: refresh_token.expose(),
        };
        let query = [("component_access_token", component_token.expose())];
        let heard = self.post(&self.0.platform.authorizer_token, &query, &body).await?;
        answer::read_authorizer_token(&heard, &[component_token.expose(), refresh_token.expose()])
    }

    /// Lists `count` (500 at most) of the platform's merchants from `offset` on.
    pub async fn merchants(
        &self,
        component_token: &AccessToken,
        platform: &AppId,
        offset: u32,
        count: u32,
    ) -> Result<MerchantsReply, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            component_appid: &'a str,
            offset: u32,
            count: u32,
        }
        let body = Body { component_appid: platform.as_str(), offset, count };
        let query = [("component_access_token", component_token.expose())];
        let heard = self.post(&self.0.platform.merchants, &query, &body).await?;
        answer::read_merchants(&heard, &[component_token.expose()])
    }

    /// Tells WeChat to push its ticket to this platform, soon and every ten minutes. None: it will.
    pub async fn start_push(&self, platform: &AppId, secret: &Secret) -> Result<Option<WechatAnswer>, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            component_appid: &'a str,
            component_secret: &'a str,
        }
        let body = Body { component_appid: platform.as_str(), component_secret: secret.expose() };
        let heard = self.post(&self.0.platform.start_push, &[], &body).await?;
        answer::read_done(&heard, &[secret.expose()])
    }
}
