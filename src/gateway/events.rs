//! `/wechat/events`: what WeChat pushes to a third-party platform. A ticket is kept for whoever fetches tokens; a
//! merchant that comes or goes is told to the operator. A GET is WeChat's check of the URL when an operator enters it.
//!
//! Without the callers' keys, which WeChat does not have: the signature is the guard.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::clock;
use crate::gateway::Gateway;
use crate::gateway::problem::Problem;
use crate::login::AppId;
use crate::secret::Secret;
use crate::store::StoreAway;
use crate::wechat::push::{BadPush, Confirmation, Envelope, Push, SIGNED_AGO_MOST_S, Signature};

/// What WeChat wants to hear.
const TAKEN: &str = "success";
/// The same for every stranger, who learns nothing about which platforms there are.
const REFUSED: &str = "not signed for a platform that is configured here; \
                       compare appid and message_token of [[platforms]] with WeChat's console";
const UNREADABLE: &str = "not a push as WeChat writes it; the gateway's log says why";

/// Pushes that are remembered. Each of them WeChat has signed: strangers cannot fill this.
const REMEMBERED_MOST: usize = 10_000;

/// The signatures of the pushes that were acted on, for as long as they are fresh: WeChat sends a push again if it did not
/// hear the answer, and whoever has recorded one may send it too.
#[derive(Default)]
pub(super) struct TakenPushes(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    signatures: HashSet<String>,
    /// In the order in which they came.
    since: VecDeque<(Instant, String)>,
}

/// Why a push is not taken.
enum Refused {
    /// Its body did not arrive.
    Body(BytesRejection),
    /// It is none, or not for us.
    Bad(BadPush),
    /// Its ticket could not be kept.
    Store(StoreAway),
}

/// Take what WeChat pushes to a third-party platform.
///
/// For WeChat alone: the URL for authorisation events (授权事件接收URL) in its console leads here.
#[utoipa::path(
    post,
    path = "/wechat/events",
    params(
        ("timestamp" = String, Query, description = "When WeChat signed, in Unix s"),
        ("nonce" = String, Query, description = "A random text"),
        ("msg_signature" = String, Query, description = "SHA-1 over message_token, timestamp, nonce and Encrypt"),
        ("signature" = Option<String>, Query, description = "The same without Encrypt; not looked at"),
        ("encrypt_type" = Option<String>, Query, description = "Always `aes`; not looked at"),
    ),
    request_body(content = String, content_type = "text/xml", description = "XML or JSON with AppId and Encrypt"),
    responses(
        (status = 200, description = "Taken: the text `success`", body = String, content_type = "text/plain"),
        (status = 400, description = "Not XML or JSON, or not to be decrypted", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not signed lately for a platform that is configured", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Longer than 16 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn take(
    State(gateway): State<Gateway>,
    signature: Result<Query<Signature>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Query(signature) = signature.unwrap_or_default();
    let (kind, dealt_with) = match gateway.open(&signature, body) {
        Ok((_, push)) if gateway.0.taken_pushes.has(signature.text()) => (push.kind(), Ok("repeated")),
        Ok((platform, push)) => (push.kind(), gateway.act_on(platform, push).await),
        Err(refused) => ("unread", Err(refused)),
    };
    if dealt_with.is_ok() {
        gateway.0.taken_pushes.remember(signature.text());
    }
    let outcome = dealt_with.as_ref().map_or_else(Refused::outcome, |outcome| *outcome);
    gateway.0.meters.pushed(kind, outcome);
    dealt_with.map_or_else(|refused| refused.into_problem().into_response(), |_| TAKEN.into_response())
}

/// Answer WeChat's check of this URL.
///
/// For WeChat alone, when the URL is entered in its console.
#[utoipa::path(
    get,
    path = "/wechat/events",
    params(
        ("timestamp" = String, Query, description = "When WeChat signed, in Unix s"),
        ("nonce" = String, Query, description = "A random text"),
        ("echostr" = String, Query, description = "The text to answer; encrypted if there is a msg_signature"),
        ("signature" = Option<String>, Query, description = "SHA-1 over message_token, timestamp and nonce"),
        ("msg_signature" = Option<String>, Query, description = "SHA-1 over these and echostr"),
    ),
    responses(
        (status = 200, description = "The text of echostr", body = String, content_type = "text/plain"),
        (status = 403, description = "Not signed lately for a platform that is configured", body = Problem, content_type = "application/problem+json"),
        (status = 405, description = "No echostr: pushes come by POST", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn confirm(
    State(gateway): State<Gateway>,
    query: Result<Query<Confirmation>, QueryRejection>,
) -> Response {
    let Query(confirmation) = query.unwrap_or_default();
    if confirmation.echostr.is_none() {
        let what = "pushes come by POST; a GET without echostr is no check of this URL";
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, what).into_response();
    }
    match confirmation.answer(&gateway.0.platforms, clock::now_ms() / 1000) {
        Ok((platform, echo)) => {
            debug!(%platform, "WeChat has checked the push URL");
            ([(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], echo).into_response()
        }
        Err(bad) => gateway.refuse("", bad).into_problem().into_response(),
    }
}

impl Gateway {
    fn open(&self, signature: &Signature, body: Result<Bytes, BytesRejection>) -> Result<(&AppId, Push), Refused> {
        let body = body.map_err(Refused::Body)?;
        let envelope = Envelope::read(&body).map_err(|bad| self.refuse("", bad))?;
        let opened = envelope.open(&self.0.platforms, signature, clock::now_ms() / 1000);
        opened.map_err(|bad| self.refuse(envelope.platform.as_str(), bad))
    }

    /// Answers how it ended.
    async fn act_on(&self, platform: &AppId, push: Push) -> Result<&'static str, Refused> {
        match push {
            Push::Ticket { ticket, created_s } => return self.keep(platform, &ticket, created_s).await,
            Push::Authorized { appid } => info!(%platform, %appid, "a merchant has authorised the platform"),
            Push::UpdateAuthorized { appid } => {
                info!(%platform, %appid, "a merchant has changed what the platform may do");
            }
            Push::Unauthorized { appid } => {
                warn!(%platform, %appid, "a merchant has withdrawn its authorisation: its logins will fail");
            }
            Push::Other { kind } => debug!(%platform, kind, "a push that nothing is done about"),
        }
        Ok("noted")
    }

    async fn keep(&self, platform: &AppId, ticket: &Secret, created_s: u64) -> Result<&'static str, Refused> {
        let kept = self.0.store.keep_ticket(platform, ticket, created_s).await;
        let kept = kept.map_err(Refused::Store)?;
        debug!(%platform, created_s, kept, "a ticket was pushed");
        Ok(if kept { "kept" } else { "outdated" })
    }

    /// `platform` is what the body claims, which anybody may claim.
    fn refuse(&self, platform: &str, bad: BadPush) -> Refused {
        if bad.is_signed() || self.0.unsigned_pushes.failed("unsigned").is_some() {
            warn!(platform, %bad, "a push was refused; only the first of many unsigned ones is a warning");
        } else {
            debug!(platform, %bad, "a push was refused");
        }
        Refused::Bad(bad)
    }
}

impl Refused {
    /// What it is counted as.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Bad(bad) if is_not_for_us(*bad) => "refused",
            Self::Body(_) | Self::Bad(_) => "unreadable",
            Self::Store(_) => "store_away",
        }
    }

    fn into_problem(self) -> Problem {
        match self {
            Self::Bad(bad) if is_not_for_us(bad) => Problem::new(StatusCode::FORBIDDEN, REFUSED),
            Self::Bad(_) => Problem::new(StatusCode::BAD_REQUEST, UNREADABLE),
            Self::Body(rejection) => rejection.into(),
            Self::Store(away) => away.into(),
        }
    }
}

/// Whether WeChat did not say it, or did not say it to the platform that the body names.
fn is_not_for_us(bad: BadPush) -> bool {
    matches!(bad, BadPush::UnknownPlatform | BadPush::WrongSignature | BadPush::Stale | BadPush::OtherPlatform)
}

impl TakenPushes {
    fn has(&self, signature: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).signatures.contains(signature)
    }

    fn remember(&self, signature: &str) {
        let now = Instant::now();
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that differs makes a push fresh for a little longer.
        let is_old = |since: Instant| now.duration_since(since).as_secs() > 2 * SIGNED_AGO_MOST_S;
        while remembered.since.front().is_some_and(|(since, _)| is_old(*since))
            || remembered.since.len() >= REMEMBERED_MOST
        {
            if let Some((_, oldest)) = remembered.since.pop_front() {
                remembered.signatures.remove(&oldest);
            }
        }
        if remembered.signatures.insert(signature.to_owned()) {
            remembered.since.push_back((now, signature.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pushes_are_remembered_while_they_are_fresh_and_not_without_bound() {
        let taken = TakenPushes::default();
        taken.remember("first");
        taken.remember("first");
        assert!(taken.has("first") && !taken.has("second"));
        tokio::time::advance(Duration::from_secs(SIGNED_AGO_MOST_S)).await;
        taken.remember("second");
        assert!(taken.has("first"), "it can still be sent again");
        tokio::time::advance(Duration::from_secs(SIGNED_AGO_MOST_S + 1)).await;
        taken.remember("third");
        assert!(!taken.has("first") && taken.has("second"));
        for n in 0..REMEMBERED_MOST {
            taken.remember(&n.to_string());
        }
        let remembered = taken.0.lock().expect("nothing panics");
        assert_eq!((remembered.signatures.len(), remembered.since.len()), (REMEMBERED_MOST, REMEMBERED_MOST));
    }
}
