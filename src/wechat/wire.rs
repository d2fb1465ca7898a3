//! What carries a call to WeChat and its answer back: HTTPS, or whoever stands in for WeChat in this process. Which host
//! is asked, for how long, and what its answer means is none of its business.

mod https;

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};

use crate::wechat::answer::{self, Fault};
use crate::wechat::{ClientError, ClientSettings};
use https::Https;

/// The longest answer that is read, in bytes. Real ones are below one KiB.
pub(super) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A call, ready to be sent. Its URL and its body hold secrets, so it does not print itself.
pub struct Call {
    /// Scheme, host, path and query.
    pub url: Uri,
    /// What proves who calls, where that is not in the query.
    pub authorization: Option<HeaderValue>,
    /// JSON, which is posted; a call without it is a GET.
    pub body: Option<Vec<u8>>,
}

/// An answer, not yet read. It may hold secrets, so it does not print itself.
pub struct Heard {
    /// HTTP's status.
    pub status: u16,
    /// Its body, as far as it came.
    pub text: Bytes,
    /// Why the rest of the body did not come: what there is of it may still hold the phone number.
    pub cut: Option<Fault>,
}

impl Heard {
    /// A whole answer.
    pub fn whole(status: u16, text: Bytes) -> Self {
        Self { status, text, cut: None }
    }
}

/// What has come of an answer so far: status and body. Left behind when the call's time is up.
#[derive(Default)]
pub(super) struct Partial(Mutex<Option<(u16, BytesMut)>>);

impl Partial {
    /// Adds a piece of the body. Returns the length of all.
    fn add(&self, status: u16, piece: &[u8]) -> usize {
        let mut partial = self.0.lock().expect("nothing panics while holding it");
        let (_, body) = partial.get_or_insert_with(|| (status, BytesMut::new()));
        let left = (MAX_ANSWER_BYTES + 1).saturating_sub(body.len());
        body.extend_from_slice(&piece[..piece.len().min(left)]);
        body.len()
    }

    /// What has come, if anything did; the rest did not, because of `cut`.
    pub(super) fn take(&self, cut: Option<Fault>) -> Option<Heard> {
        let (status, body) = self.0.lock().expect("nothing panics while holding it").take()?;
        Some(Heard { status, text: body.freeze(), cut })
    }
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
    pub(super) async fn carry(&self, call: Call, partial: &Partial) -> Result<Heard, Fault> {
        match self {
            Self::Https(https) => https.carry(call, partial).await,
            Self::InProcess(stand_in) => Ok(bounded(stand_in(call).await?)),
        }
    }
}

/// What is longer than an answer may be is cut off.
fn bounded(mut heard: Heard) -> Heard {
    if heard.text.len() > MAX_ANSWER_BYTES {
        heard.text.truncate(MAX_ANSWER_BYTES);
        heard.cut = Some(too_long(heard.status));
    }
    heard
}

pub(super) fn too_long(status: u16) -> Fault {
    answer::fault(status, &format!("longer than {} KiB", MAX_ANSWER_BYTES / 1024))
}
