//! Errors as `application/problem+json` (RFC 9457).

use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// An error as the caller sees it. Its detail names fields and rules, never a code or a key.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: the status says it all.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// The request that the trouble is about, where it has got that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip)]
    retry_after_s: Option<u32>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            request_id: None,
            retry_after_s: None,
        }
    }

    /// Trouble that passes: the caller may try again after so many seconds.
    pub(super) fn passing(status: StatusCode, detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(status, detail) }
    }

    pub(super) fn about(mut self, request_id: &crate::login::RequestId) -> Self {
        self.request_id = Some(request_id.to_string());
        self
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        let status = rejection.status();
        let too_long = status == StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(status, if too_long { "at most 16 KiB" } else { "the body broke off" })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("made from a status");
        let body = serde_json::to_vec(&self).expect("text and numbers always serialise");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
