//! `GET /v1/logins/{request_id}`: the result, at once or as soon as it is there.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

use crate::clock;
use crate::gateway::problem::Problem;
use crate::gateway::waiting::Ended;
use crate::gateway::{Gateway, Pending};
use crate::login::{NotWhole, RequestId, ResultBody, whole_number};

/// The longest that a caller may wait, in seconds.
const LONGEST_WAIT_S: u64 = 30;
/// What a caller that polls is told to wait, in seconds.
const POLL_AGAIN_S: u32 = 1;
/// An id of version 7 says when it was made; with this added to the code's life, its result can no longer come.
const LATEST_MS: u64 = 60_000;

#[derive(Deserialize)]
pub(super) struct WaitQuery {
    #[serde(default)]
    wait: String,
}

impl WaitQuery {
    /// How long the caller wants to wait; none if the value is no whole number of seconds. Empty is 0.
    fn seconds(&self) -> Option<u64> {
        if self.wait.trim_ascii().is_empty() {
            return Some(0);
        }
        match whole_number(&self.wait) {
            Ok(seconds) => Some(seconds.min(LONGEST_WAIT_S)),
            Err(NotWhole::TooLarge) => Some(LONGEST_WAIT_S),
            Err(NotWhole::NotANumber | NotWhole::Negative) => None,
        }
    }
}

/// Ask for a login's result.
#[utoipa::path(
    get,
    path = "/v1/logins/{request_id}",
    params(
        ("request_id" = String, Path, description = "As submitted or answered"),
        ("wait" = Option<u64>, Query, description = "Respond as soon as the result is there, or after this many seconds (at most 30). Empty is 0"),
    ),
    responses(
        (status = 200, description = "The result, a phone number or why there is none", body = ResultBody),
        (status = 202, description = "Not finished", body = Pending),
        (status = 400, description = "Not a request id, or not a number of seconds", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No key, or an unknown one", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Never submitted here, or its result can no longer come", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many callers wait", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
pub(super) async fn poll(
    State(gateway): State<Gateway>,
    Path(request_id): Path<String>,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> Response {
    gateway.look_up(&request_id, query).await.unwrap_or_else(IntoResponse::into_response)
}

impl Gateway {
    async fn look_up(
        &self,
        request_id: &str,
        query: Result<Query<WaitQuery>, QueryRejection>,
    ) -> Result<Response, Problem> {
        let request_id = RequestId::try_from(request_id)
            .map_err(|rule| Problem::new(StatusCode::BAD_REQUEST, format!("the request id {rule}")))?;
        let wait_s = query.ok().and_then(|Query(query)| query.seconds());
        let wait_s =
            wait_s.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "wait is not a whole number of seconds"))?;
        if let Some(result) = self.stored(&request_id).await? {
            return Ok(finished(result));
        }
        if wait_s > 0 {
            let at_most = Duration::from_secs(wait_s);
            if let Some(result) = self.wait_for(&request_id, at_most).await? {
                return Ok(finished(result));
            }
        }
        if self.may_still_come(&request_id).await? {
            return Ok(pending(request_id));
        }
        // It may have been recorded, and its claim freed, since it was looked up.
        self.stored(&request_id).await?.map(finished).ok_or_else(gone)
    }

    async fn stored(&self, request_id: &RequestId) -> Result<Option<Bytes>, Problem> {
        let found = self.0.store.results(std::slice::from_ref(request_id)).await?;
        Ok(found.into_iter().flatten().next())
    }

    async fn wait_for(&self, request_id: &RequestId, at_most: Duration) -> Result<Option<Bytes>, Problem> {
        let waiting = self.0.waiting.wait(request_id.clone(), at_most);
        tokio::select! {
            ended = waiting => match ended {
                Ended::Result(result) => Ok(Some(result)),
                Ended::TimeUp => Ok(None),
                Ended::TooMany => Err(Problem::passing(StatusCode::TOO_MANY_REQUESTS, "too many callers wait", POLL_AGAIN_S)),
            },
            () = self.0.stop.cancelled() => Ok(None),
        }
    }

    /// Whether a login without a result is under way: it is marked as accepted, or claimed, or its id is young enough.
    async fn may_still_come(&self, request_id: &RequestId) -> Result<bool, Problem> {
        let latest = self.0.code_life.as_millis() as u64 + LATEST_MS;
        let (now, ahead) = (clock::now_ms(), LATEST_MS);
        if request_id.generated_at().is_some_and(|at| at < now + ahead && now < at + latest) {
            return Ok(true);
        }
        Ok(self.0.store.is_accepted(request_id).await?)
    }
}

fn finished(result: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, result).into_response()
}

fn pending(request_id: RequestId) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(Pending::of(request_id))).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, POLL_AGAIN_S.into());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn gone() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no such login is under way: never submitted here, or its result is past its time",
    )
}
