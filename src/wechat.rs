//! What WeChat says: the few calls a login needs, over HTTPS, and nothing of what they mean for a login. What it says of
//! its own accord, to third-party platforms, is in [`push`].
//!
//! Every answer is a [`Reply`], a [`TokenReply`] or a [`Fault`]. No error of this module carries a URL, a token, a
//! code or a phone number; no call is ever repeated here, since only the verdict knows whether asking again is right.

mod answer;
pub mod errcode;
pub mod explained;
pub mod push;

use std::fmt;
use std::time::Duration;

use reqwest::{Url, header, redirect, retry};
use serde::Serialize;

pub use answer::{Fault, Reply, TokenGrant, TokenReply};

use crate::login::{AppId, Code, OpenId};
use crate::secret::Secret;

/// The longest answer that is read, in bytes. Real ones are below one KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A token to call WeChat with in an app's name, valid for about two hours; prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Secret);

impl AccessToken {
    /// The token itself, for the query of a call and for the shared store.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<String> for AccessToken {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How WeChat is reached.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Scheme and host, `https://api.weixin.qq.com`; a path in it is kept as a prefix.
    pub base_url: Url,
    /// Bound on name look-up, TCP and TLS.
    pub connect_timeout: Duration,
    /// Bound on a whole call, connecting included.
    pub timeout: Duration,
    /// How long an idle connection is kept; WeChat drops them at about 20 s.
    pub pool_idle: Duration,
}

/// A client of WeChat's server API. Cheap to clone; all clones share one pool of connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    exchange_url: Url,
    stable_token_url: Url,
    classic_token_url: Url,
    timeout: Duration,
}

/// The HTTP client could not be made: no TLS roots, or a base URL that cannot carry a path.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for WeChat cannot be made: {0}")]
pub struct ClientError(String);

impl Client {
    /// Makes a client; opens no connection yet.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let base = &settings.base_url;
        let http = reqwest::Client::builder()
            .https_only(base.scheme() == "https")
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .pool_idle_timeout(settings.pool_idle)
            .tcp_nodelay(true)
            .user_agent(concat!("quicklogin/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError(answer::cause(error)))?;
        Ok(Self {
            http,
            exchange_url: with_path(base, "wxa/business/getuserphonenumber")?,
            stable_token_url: with_path(base, "cgi-bin/stable_token")?,
            classic_token_url: with_path(base, "cgi-bin/token")?,
            timeout: settings.timeout,
        })
    }

    /// The longest a call can take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Exchanges a code for the phone number. Spends the code, unless the fault says that it was surely not taken.
    pub async fn exchange(&self, token: &AccessToken, code: &Code, openid: Option<&OpenId>) -> Result<Reply, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            openid: Option<&'a str>,
        }
        let mut url = self.exchange_url.clone();
        url.query_pairs_mut().append_pair("access_token", token.expose());
        let body = Body { code: code.expose(), openid: openid.map(OpenId::expose) };
        let heard = self.post(url, &body).await?;
        let openid = openid.map_or("", OpenId::expose);
        answer::read_phone(&heard, &[token.expose(), code.expose(), openid])
    }

    /// Asks for the app's current access token: the same one until it has less than five minutes left.
    pub async fn stable_token(&self, appid: &AppId, secret: &Secret) -> Result<TokenReply, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            grant_type: &'a str,
            appid: &'a str,
            secret: &'a str,
            force_refresh: bool,
        }
        let body = Body {
            grant_type: "client_credential",
            appid: appid.as_str(),
            secret: secret.expose(),
            force_refresh: false,
        };
        let heard = self.post(self.stable_token_url.clone(), &body).await?;
        answer::read_token(&heard, &[secret.expose()])
    }

    /// Asks for a new access token. The app's former one dies, five minutes later at the latest.
    pub async fn classic_token(&self, appid: &AppId, secret: &Secret) -> Result<TokenReply, Fault> {
        let mut url = self.classic_token_url.clone();
        url.query_pairs_mut()
            .append_pair("grant_type", "client_credential")
            .append_pair("appid", appid.as_str())
            .append_pair("secret", secret.expose());
        let heard = hear(self.http.get(url)).await?;
        answer::read_token(&heard, &[secret.expose()])
    }

    async fn post(&self, url: Url, body: &impl Serialize) -> Result<answer::Heard, Fault> {
        let body = serde_json::to_vec(body).expect("text always serialises");
        hear(self.http.post(url).header(header::CONTENT_TYPE, "application/json").body(body)).await
    }
}

/// Sends a request and hears the answer to its end.
async fn hear(request: reqwest::RequestBuilder) -> Result<answer::Heard, Fault> {
    let mut response = request.send().await.map_err(answer::unanswered)?;
    let status = response.status().as_u16();
    let mut text = Vec::with_capacity(response.content_length().unwrap_or(0).min(4096) as usize);
    while let Some(chunk) = response.chunk().await.map_err(answer::cut_off)? {
        if text.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(answer::fault(status, "longer than 64 KiB"));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(answer::Heard { status, text })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.exchange_url.host_str()).finish_non_exhaustive()
    }
}

fn with_path(base: &Url, path: &str) -> Result<Url, ClientError> {
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| ClientError("wechat.base_url has no host".into()))?
        .pop_if_empty()
        .extend(path.split('/'));
    Ok(url)
}
