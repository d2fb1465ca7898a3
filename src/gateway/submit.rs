//! `POST /v1/logins`: a code comes in, and is published once.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::clock;
use crate::gateway::problem::Problem;
use crate::gateway::{Gateway, Pending, result_url};
use crate::login::{LoginRequest, RequestId};
use crate::queue::PublishFault;
use crate::store::{Bound, CodeDigest, Reserved, StoreAway};
use crate::traceparent::Traceparent;

/// A login counts as under way for so long after its code's life: the last answer and its recording take time.
const RESULT_COMES_WITHIN: Duration = Duration::from_secs(60);
/// How often, and how far apart, to look whether a code that is bound is also published.
const LOOKS: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// What callers are told to wait when the queue or the store refuses, in seconds.
const RETRY_AFTER_S: u32 = 2;

/// What is submitted. For the description only; [`LoginRequest`] reads it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "its fields are the API's description")]
pub(super) struct Submission {
    /// The dynamic code of the phone-number button.
    #[schema(min_length = 1, max_length = 512)]
    code: String,
    /// The mini program; required if more than one is configured. Empty counts as absent.
    appid: Option<String>,
    /// Whose code it should be; WeChat then checks it. Each submission of a code must have the same openid, or none.
    /// Empty counts as absent.
    openid: Option<String>,
    /// When the user tapped, in Unix ms. Any spelling of a whole number is read, as a number or a string; zero and empty
    /// count as absent.
    issued_at: Option<u64>,
    /// After this no caller waits any more, in Unix ms. Written like `issued_at`.
    deadline: Option<u64>,
    /// The result is keyed by it; generated if absent or empty.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._~-]+$")]
    request_id: Option<String>,
}

/// What became of a submission that was accepted.
struct Submitted {
    request_id: RequestId,
    /// Whether an earlier submission of the same code was published, and so nothing by this one.
    repeated: bool,
}

/// Submit a code; it is published before this answers.
///
/// The same code for the same app and openid within its life answers with the same request id and `repeated`, and is
/// published only once. The same code with another openid, or with an openid once and without it once, is 409.
#[utoipa::path(
    post,
    path = "/v1/logins",
    request_body = Submission,
    responses(
        (status = 202, description = "Published; ask for the result at `result_url`", body = Pending),
        (status = 400, description = "Not a login request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No key, or an unknown one", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The code was submitted with another openid", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Longer than 16 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json, or compressed", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The queue or the store refuses or is away", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
pub(super) async fn submit(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let response = match take(&gateway, &headers, body).await {
        Ok(submitted) => accepted(submitted),
        Err(problem) => problem.into_response(),
    };
    gateway.0.meters.submitted(response.status().as_u16());
    response
}

async fn take(
    gateway: &Gateway,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Submitted, Problem> {
    check_content_type(headers)?;
    check_content_encoding(headers)?;
    let (request, chosen) =
        LoginRequest::decode_submission(&body?).map_err(|problem| Problem::new(StatusCode::BAD_REQUEST, problem))?;
    let request = gateway.complete(request)?;
    let digest = digest_of(&request);
    if chosen {
        gateway.reserve(&request.request_id, &digest).await?;
    }
    let traceparent = headers.get("traceparent").and_then(|value| Traceparent::parse(value.to_str().ok()?));
    gateway.publish_once(request, &digest, &traceparent.unwrap_or_else(Traceparent::generate)).await
}

impl Gateway {
    /// Fills in what the caller may leave out.
    fn complete(&self, request: LoginRequest) -> Result<LoginRequest, Problem> {
        let apps = self.0.apps.0.load();
        let appid = match request.appid {
            Some(appid) if apps.contains(&appid) => appid,
            Some(_) => return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no such app is configured")),
            None if apps.len() == 1 => apps.iter().next().expect("there is one").clone(),
            None => {
                let detail = "appid is missing, and several apps are configured";
                return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
            }
        };
        let issued_at = request.issued_at.or_else(|| Some(clock::now_ms()));
        Ok(LoginRequest { appid: Some(appid), issued_at, ..request })
    }

    /// An id that the caller chose is this code's alone: with another code it would bring another user's result.
    async fn reserve(&self, request_id: &RequestId, digest: &CodeDigest) -> Result<(), Problem> {
        let life = self.0.code_life + RESULT_COMES_WITHIN + self.0.result_ttl;
        match self.0.store.reserve_id(request_id, digest, life).await? {
            Reserved::Ours => Ok(()),
            Reserved::OtherSubject => Err(other_openid()),
            Reserved::OtherCode => {
                let detail = "request_id was used for another code; choose another, or leave it out";
                Err(Problem::new(StatusCode::BAD_REQUEST, detail).about(request_id))
            }
        }
    }

    /// Publishes the request, unless its code was published before for the same openid: then that request's id is the
    /// answer. A code that is bound to another openid is refused, whether it was published or not.
    ///
    /// The code is bound to an id first and marked as accepted last. A gateway that fails in between leaves a binding
    /// without a mark, and whoever submits the code again publishes it under the same id; a worker asks for it once.
    async fn publish_once(
        &self,
        request: LoginRequest,
        digest: &CodeDigest,
        traceparent: &Traceparent,
    ) -> Result<Submitted, Problem> {
        let (queue, store) = (&self.0.queue, &self.0.store);
        let code_life = self.0.code_life;
        let request = match store.bind_code(digest, &request.request_id, code_life).await? {
            Bound::First => request,
            Bound::Repeated(request_id) if self.was_accepted(&request_id).await? => {
                debug!(%request_id, "the same code again; published before");
                return Ok(Submitted { request_id, repeated: true });
            }
            Bound::Repeated(request_id) => LoginRequest { request_id, ..request },
            Bound::OtherSubject => return Err(other_openid()),
        };
        let request_id = &request.request_id;
        if let Err(fault) = queue.publish(&request, traceparent).await {
            let why = fault.to_string();
            match self.0.publish_faults.failed(&why) {
                Some(suppressed) => warn!(%request_id, why, suppressed, "a login request was not published"),
                None => debug!(%request_id, why, "a login request was not published"),
            }
            return Err(refused(&fault).about(request_id));
        }
        self.0.publish_faults.ended();
        if let Err(fault) = store.mark_accepted(request_id, code_life + RESULT_COMES_WITHIN).await {
            warn!(%request_id, %fault, "published, but not marked: the same code may be published again");
        }
        debug!(%request_id, trace_id = traceparent.trace_id(), "login request published");
        Ok(Submitted { request_id: request.request_id, repeated: false })
    }

    /// Whether the request that brought this code first was published. Gives another caller whose request is just being
    /// published a moment to finish.
    async fn was_accepted(&self, request_id: &RequestId) -> Result<bool, Problem> {
        for _ in 0..LOOKS {
            if self.0.store.is_accepted(request_id).await? {
                return Ok(true);
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(false)
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json"))
}

fn check_content_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let codings =
        headers.get_all(header::CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let is_encoded = |coding: &[u8]| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
    if codings.map(<[u8]>::trim_ascii).any(is_encoded) {
        let detail = "send the body uncompressed, without Content-Encoding";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(())
}

/// What a code and its subject are known by where they must not be readable. A subject is not the digest of an openid
/// alone, or it would tell which logins are of the same user.
fn digest_of(request: &LoginRequest) -> CodeDigest {
    let appid = request.appid.as_ref().expect("filled in before");
    let code = format!("{appid}\0{}", request.code.expose());
    let subject = match &request.openid {
        Some(openid) => format!("{code}\0openid\0{}", openid.expose()),
        None => format!("{code}\0no openid"),
    };
    CodeDigest { code: sha256(&code), subject: sha256(&subject) }
}

fn sha256(text: &str) -> String {
    use std::fmt::Write;
    let sum = digest(&SHA256, text.as_bytes());
    sum.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Names no request id: this caller may not read that login's result.
fn other_openid() -> Problem {
    debug!("a code is submitted for another openid than before");
    let detail = "this code was submitted with another openid, or without one; ask the user to tap again";
    Problem::new(StatusCode::CONFLICT, detail)
}

fn accepted(Submitted { request_id, repeated }: Submitted) -> Response {
    let url = result_url(&request_id);
    let body = Pending { result_url: Some(url.clone()), repeated, ..Pending::of(request_id) };
    (StatusCode::ACCEPTED, [(header::LOCATION, url)], Json(body)).into_response()
}

fn refused(fault: &PublishFault) -> Problem {
    let detail = match fault {
        PublishFault::Full => "the queue is full; nothing was published",
        PublishFault::Away(_) => "the queue is away; submit the same code again",
    };
    Problem::passing(StatusCode::SERVICE_UNAVAILABLE, detail, RETRY_AFTER_S)
}

impl From<StoreAway> for Problem {
    fn from(fault: StoreAway) -> Self {
        debug!(%fault, "a caller is told to come back");
        Self::passing(StatusCode::SERVICE_UNAVAILABLE, "the store is away; try again", RETRY_AFTER_S)
    }
}
