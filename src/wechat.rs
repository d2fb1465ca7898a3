//! What WeChat says: the few calls a login needs, over HTTPS, and nothing of what they mean for a login. The calls of
//! third-party platforms are in `platform`; what WeChat says to those of its own accord is in [`push`].
//! `endpoint` makes a call's URL, `wire` carries it.
//!
//! Every answer is a [`Reply`], a [`TokenReply`] or a [`Fault`]. No error of this module carries a URL, a token, a
//! code or a phone number; no call that may have been sent is ever repeated here, since only the verdict knows whether
//! asking again is right. One that surely was not sent goes to another host (`hosts`), within the same time.

mod answer;
mod endpoint;
pub mod errcode;
pub mod explained;
mod hosts;
mod platform;
pub mod push;
mod wire;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde::Serialize;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

pub use answer::{Fault, Reply, TokenGrant, TokenReply};
pub use platform::{AuthorizerReply, MerchantsReply};
pub use wire::{Call, Heard, StandIn};

use endpoint::{Address, Endpoint};
use hosts::{Hosts, Turn};
use wire::{Partial, Wire};

use crate::fault_log::FaultLog;
use crate::login::{AppId, Code, OpenId};
use crate::secret::Secret;

/// What it takes to read an answer that has arrived.
const ALREADY_HERE: Duration = Duration::from_millis(50);

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
    /// Tried in this order where `base_url` cannot be reached; each has its scheme.
    pub hosts: Vec<Url>,
    /// Bound on name look-up, TCP and TLS, for each host.
    pub connect_timeout: Duration,
    /// Bound on a whole call, connecting and all hosts included; reading what has arrived by then takes a moment more.
    pub timeout: Duration,
    /// An idle connection is not used again after this, and closed after at most twice this; WeChat drops them at about
    /// 20 s.
    pub pool_idle: Duration,
}

/// Of a call that has so much time left, connecting may take so much. With more, a connection that was never made would
/// look like an answer that was never heard.
pub fn longest_connect(left: Duration) -> Duration {
    left - left / 4
}

/// A client of WeChat's server API. Cheap to clone; all clones share one pool of connections, and what they know of
/// its hosts.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    wire: Wire,
    hosts: Hosts,
    /// Lost responses of all hosts.
    lost: FaultLog,
    exchange: Endpoint,
    stable_token: Endpoint,
    classic_token: Endpoint,
    platform: platform::Endpoints,
    connect_timeout: Duration,
    timeout: Duration,
}

/// The HTTP client could not be made: no TLS roots, or a base URL that cannot carry a path.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for WeChat cannot be made: {0}")]
pub struct ClientError(String);

impl Client {
    /// Makes a client; opens no connection yet.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        Self::over(Wire::https(settings)?, settings)
    }

    /// Makes a client of somebody in this process, who is asked in WeChat's place.
    pub fn in_process(settings: &ClientSettings, stand_in: StandIn) -> Result<Self, ClientError> {
        Self::over(Wire::InProcess(stand_in), settings)
    }

    fn over(wire: Wire, settings: &ClientSettings) -> Result<Self, ClientError> {
        let hosts: Vec<Url> = std::iter::once(&settings.base_url).chain(&settings.hosts).cloned().collect();
        Ok(Self(Arc::new(Inner {
            wire,
            exchange: Endpoint::new(&hosts, "wxa/business/getuserphonenumber")?,
            stable_token: Endpoint::new(&hosts, "cgi-bin/stable_token")?,
            classic_token: Endpoint::new(&hosts, "cgi-bin/token")?,
            platform: platform::Endpoints::new(&hosts)?,
            hosts: Hosts::new(&hosts, settings.timeout),
            lost: FaultLog::default(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
        })))
    }

    /// The longest a call can take.
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Exchanges a code for the phone number. Spends the code, unless the fault says that it was surely not taken.
    pub async fn exchange(&self, token: &AccessToken, code: &Code, openid: Option<&OpenId>) -> Result<Reply, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            openid: Option<&'a str>,
        }
        let body = Body { code: code.expose(), openid: openid.map(OpenId::expose) };
        let heard = self.post(&self.0.exchange, &[("access_token", token.expose())], &body).await?;
        let openid = openid.map_or("", OpenId::expose);
        answer::read_phone(&heard, &[token.expose(), code.expose(), openid])
    }

    /// Asks for the app's current access token: the same one until it has less than five minutes left. `force_refresh`
    /// asks for a new one and ends it at once; WeChat allows that 20 times a day, 30 s apart.
    pub async fn stable_token(&self, appid: &AppId, secret: &Secret, force_refresh: bool) -> Result<TokenReply, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            grant_type: &'a str,
            appid: &'a str,
            secret: &'a str,
            force_refresh: bool,
        }
        let body =
            Body { grant_type: "client_credential", appid: appid.as_str(), secret: secret.expose(), force_refresh };
        let heard = self.post(&self.0.stable_token, &[], &body).await?;
        answer::read_token(&heard, &[secret.expose()])
    }

    /// Asks for a new access token. The app's former one dies, five minutes later at the latest.
    pub async fn classic_token(&self, appid: &AppId, secret: &Secret) -> Result<TokenReply, Fault> {
        let query = [("grant_type", "client_credential"), ("appid", appid.as_str()), ("secret", secret.expose())];
        let endpoint = &self.0.classic_token;
        let heard = self.call(|host| endpoint.call(host, &query, None)).await?;
        answer::read_token(&heard, &[secret.expose()])
    }

    /// Asks another system's token server: the one call that does not go to WeChat.
    pub async fn external_token(&self, url: &Url, bearer: Option<&Secret>) -> Result<TokenReply, Fault> {
        let address = Address::of(url).map_err(|ClientError(why)| Fault::Unreachable(why))?;
        let call = address.get(bearer)?;
        let heard = self.hear(call, self.0.timeout).await?;
        answer::read_token(&heard, &[bearer.map_or("", Secret::expose)])
    }

    async fn post(
        &self,
        endpoint: &Endpoint,
        query: &[(&str, &str)],
        body: &(impl Serialize + Sync),
    ) -> Result<Heard, Fault> {
        let body = || serde_json::to_vec(body).expect("text always serialises");
        self.call(|host| endpoint.call(host, query, Some(body()))).await
    }

    /// Sends a call, made anew for each host, to one host after the other while it surely was not sent.
    async fn call(&self, call_to: impl Fn(usize) -> Result<Call, Fault>) -> Result<Heard, Fault> {
        let Inner { hosts, connect_timeout, timeout: limit, .. } = &*self.0;
        let (began, mut tried) = (Instant::now(), Vec::new());
        let mut turn = hosts.turn(&tried, began).expect("base_url is a host");
        let mut heard = self.take_turn(turn, call_to(turn.host)?, *limit).await;
        while matches!(heard, Err(Fault::Unreachable(_))) {
            tried.push(turn.host);
            let left = limit.saturating_sub(began.elapsed());
            if longest_connect(left) < *connect_timeout {
                break;
            }
            let Some(next) = hosts.turn(&tried, Instant::now()) else { break };
            turn = next;
            heard = self.take_turn(turn, call_to(turn.host)?, left).await;
        }
        heard
    }

    async fn take_turn(&self, turn: Turn, call: Call, left: Duration) -> Result<Heard, Fault> {
        let heard = self.hear(call, left).await;
        self.0.hosts.learn(turn, &heard, Instant::now());
        self.report(&self.0.hosts.names()[turn.host], &heard);
        heard
    }

    /// Logs that WeChat does not respond to what was sent, and that it does again.
    fn report(&self, host: &str, heard: &Result<Heard, Fault>) {
        match heard {
            Err(fault @ Fault::Unheard(_)) | Ok(Heard { cut: Some(fault @ Fault::Unheard(_)), .. }) => {
                if let Some(suppressed) = self.0.lost.failed(host) {
                    warn!(
                        host,
                        suppressed,
                        fault = fault.in_words(),
                        "a response of WeChat was lost: its login is asked again within login.patience_s, and ends as in_doubt if WeChat does not respond by then"
                    );
                }
            }
            Err(Fault::Unreachable(_) | Fault::Local(_)) => {}
            _ => {
                if let Some(lasted) = self.0.lost.ended() {
                    info!(host, lasted_s = lasted.as_secs(), "WeChat responds again");
                }
            }
        }
    }

    /// Sends a call and hears the answer to its end. One that came while this process stood still is heard too: it lies
    /// there, but a clock that has run on meanwhile would say first that the time is up. So there is a moment more,
    /// counted from when that was noticed; and another, if the process stood still in that. What has come of an answer by
    /// then is returned too.
    async fn hear(&self, call: Call, limit: Duration) -> Result<Heard, Fault> {
        let partial = Partial::default();
        let mut hearing = pin!(self.0.wire.carry(call, &partial));
        if let Ok(heard) = timeout(limit, &mut hearing).await {
            return heard;
        }
        loop {
            let noticed = Instant::now();
            if let Ok(heard) = timeout(ALREADY_HERE, &mut hearing).await {
                return heard;
            }
            if noticed.elapsed() < ALREADY_HERE * 2 {
                let late = Fault::no_response_within(limit);
                return partial.take(Some(late.clone())).ok_or(late);
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("hosts", &self.0.hosts.names()).finish_non_exhaustive()
    }
}
