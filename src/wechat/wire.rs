//! What carries a call to WeChat and its answer back: HTTPS, or whoever stands in for WeChat in this process. Which host
//! is asked, for how long, and what its answer means is none of its business.

mod https;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};

use crate::wechat::answer::{self, Fault};
use crate::wechat::{ClientError, ClientSettings};
use https::Https;

/// The longest answer that is read, in bytes. Real ones are below one KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A call, ready to be sent. Its URL and its body hold secrets, so it does not print itself.
pub struct Call {
    /// Scheme, host, path and query.
    pub url: Uri,
    /// What proves who calls, where that is not in the query.
    pub authorization: Option<HeaderValue>,
    /// JSON, which is posted; a call without it is a GET.
    pub body: Option<Vec<u8>>,
}

/// A whole answer, not yet read. It may hold secrets, so it does not print itself.
pub struct Heard {
    /// HTTP's status.
    pub status: u16,
    /// Its body.
    pub text: Bytes,
}

/// Somebody who stands in for WeChat and for the network in front of it: answers a call, or says why there is no answer,
/// or never comes back. That it is dropped does not tell it that the call was not taken.
pub type StandIn = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Heard, Fault>> + Send + Sync>;

/// The way to WeChat and back.
pub(super) enum Wire {
    Https(Https),
    InProcess(StandIn),
}

impl Wire {
    /// Opens no connection yet.
    pub(super) fn https(settings: &ClientSettings) -> Result<Self, ClientError> {
        Https::new(settings).map(Self::Https)
    }

    /// Sends a call and hears the answer to its end.
    pub(super) async fn carry(&self, call: Call) -> Result<Heard, Fault> {
        match self {
            Self::Https(https) => https.carry(call).await,
            Self::InProcess(stand_in) => {
                let heard = stand_in(call).await?;
                if heard.text.len() > MAX_ANSWER_BYTES { Err(too_long(heard.status)) } else { Ok(heard) }
            }
        }
    }
}

fn too_long(status: u16) -> Fault {
    answer::fault(status, &format!("longer than {} KiB", MAX_ANSWER_BYTES / 1024))
}
