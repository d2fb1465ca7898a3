//! What carries a call to WeChat and its answer back: HTTPS, or whoever stands in for WeChat in this process. Which host
//! is asked, for how long, and what its answer means is none of its business.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::{Url, header, redirect, retry};

use crate::secret::Secret;
use crate::wechat::answer::{self, Fault};
use crate::wechat::{ClientError, ClientSettings};

/// The longest answer that is read, in bytes. Real ones are below one KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A call, ready to be sent. Its URL and its body hold secrets, so it does not print itself.
pub struct Call {
    /// Host, path and query.
    pub url: Url,
    /// What proves who calls, where that is not in the query.
    pub bearer: Option<Secret>,
    /// JSON, which is posted; a call without it is a GET.
    pub body: Option<Vec<u8>>,
}

/// A whole answer, not yet read. It may hold secrets, so it does not print itself.
pub struct Heard {
    /// HTTP's status.
    pub status: u16,
    /// Its body.
    pub text: Vec<u8>,
}

/// Somebody who stands in for WeChat and for the network in front of it: answers a call, or says why there is no answer,
/// or never comes back. That it is dropped does not tell it that the call was not taken.
pub type StandIn = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Heard, Fault>> + Send + Sync>;

/// The way to WeChat and back.
pub(super) enum Wire {
    Https(reqwest::Client),
    InProcess(StandIn),
}

impl Wire {
    /// Opens no connection yet.
    pub(super) fn https(settings: &ClientSettings) -> Result<Self, ClientError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(settings.pool_idle)
            .tcp_nodelay(true)
            .user_agent(concat!("quicklogin/", env!("CARGO_PKG_VERSION")))
            .build();
        client.map(Self::Https).map_err(|error| ClientError(answer::cause(error)))
    }

    /// Sends a call and hears the answer to its end.
    pub(super) async fn carry(&self, call: Call) -> Result<Heard, Fault> {
        match self {
            Self::Https(client) => over_https(client, call).await,
            Self::InProcess(stand_in) => {
                let heard = stand_in(call).await?;
                if heard.text.len() > MAX_ANSWER_BYTES { Err(too_long(heard.status)) } else { Ok(heard) }
            }
        }
    }
}

async fn over_https(client: &reqwest::Client, call: Call) -> Result<Heard, Fault> {
    let Call { url, bearer, body } = call;
    let mut request = match body {
        Some(body) => client.post(url).header(header::CONTENT_TYPE, "application/json").body(body),
        None => client.get(url),
    };
    if let Some(bearer) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", bearer.expose()));
    }
    let mut response = request.send().await.map_err(answer::unanswered)?;
    let status = response.status().as_u16();
    let mut text = Vec::with_capacity(response.content_length().unwrap_or(0).min(4096) as usize);
    while let Some(chunk) = response.chunk().await.map_err(answer::cut_off)? {
        if text.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(too_long(status));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(Heard { status, text })
}

fn too_long(status: u16) -> Fault {
    answer::fault(status, "longer than 64 KiB")
}
