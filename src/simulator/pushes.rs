//! Sending pushes to platforms: as WeChat does it, but once, and with a bound on everything. What a push says is built
//! in `model/platforms/push.rs`.

use std::time::Duration;

use reqwest::{header, redirect, retry};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::model::Posting;
use super::refused::Refused;

const SENDING_MOST: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MOST: usize = 64 * 1024;
const WAITING_MOST: usize = 16;

/// What a platform answered to a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushAnswered {
    /// The HTTP status.
    pub status: u16,
    /// The body; a platform that took the push says `success`.
    pub answer: String,
}

/// Pushes that platforms asked for, sent one after another.
pub(super) struct Pushes(mpsc::Sender<Posting>);

impl Pushes {
    /// Sends on this tracker until the stop.
    pub(super) fn start(tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MOST);
        tracker.spawn(async move { stop.run_until_cancelled(send_all(receiver)).await });
        Self(sender)
    }

    /// Sends this soon, unless too many wait already: then it is lost, as a push can be.
    pub(super) fn begin(&self, posting: Posting) {
        if self.0.try_send(posting).is_err() {
            debug!("a push is lost: too many wait");
        }
    }
}

async fn send_all(mut postings: mpsc::Receiver<Posting>) {
    while let Some(posting) = postings.recv().await {
        match send(posting).await {
            Ok(answered) => debug!(status = answered.status, "pushed"),
            Err(refused) => debug!(%refused, "a push is lost"),
        }
    }
}

/// Posts a push and hears what the platform says to it.
pub(super) async fn send(posting: Posting) -> Result<PushAnswered, Refused> {
    let Posting { url, pushed } = posting;
    let url =
        url.ok_or_else(|| Refused::new("nowhere to push to", "send a \"url\", or give the platform a push_url"))?;
    let joint = if url.contains('?') { '&' } else { '?' };
    // Pushes are rare: each has a client, and so a connection, of its own.
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .timeout(SENDING_MOST)
        .build()
        .map_err(|_| Refused::new("no HTTP client can be made", "this machine may lack TLS roots"))?;
    let request = client.post(format!("{url}{joint}{}", pushed.query)).header(header::CONTENT_TYPE, "text/xml");
    hear(request.body(pushed.body)).await
}

/// An error of reqwest's may hold the URL, and with it the signatures: it goes no further.
async fn hear(request: reqwest::RequestBuilder) -> Result<PushAnswered, Refused> {
    let unheard = |_| Refused::new("the push URL does not answer", "is it a whole http URL, and does anybody listen?");
    let mut response = request.send().await.map_err(unheard)?;
    let status = response.status().as_u16();
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unheard)? {
        if answer.len() + chunk.len() > ANSWER_BYTES_MOST {
            return Err(Refused::new("the answer to the push is too long", "a platform answers: success"));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(PushAnswered { status, answer: String::from_utf8_lossy(&answer).into_owned() })
}
