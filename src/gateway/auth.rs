//! Who may call: `Authorization: Bearer KEY`, where keys are configured.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::gateway::Gateway;
use crate::gateway::problem::Problem;
use crate::secret::Secret;

/// The keys of the gateway's callers, as digests: equal length, compared in constant time. Empty: open to everybody.
#[derive(Clone, Default)]
pub struct Keys(Vec<Digest>);

impl Keys {
    /// The digests of these keys.
    pub fn new(keys: &[Secret]) -> Self {
        Self(keys.iter().map(|key| digest(&SHA256, key.expose().as_bytes())).collect())
    }

    /// Whether anybody may call.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    fn admit(&self, key: &str) -> bool {
        let offered = digest(&SHA256, key.as_bytes());
        // All are compared, so that the time taken does not tell which one came close.
        self.0.iter().filter(|key| verify_slices_are_equal(key.as_ref(), offered.as_ref()).is_ok()).count() > 0
    }
}

pub(super) async fn check(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key =
        header.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let admitted = gateway.0.keys.is_open() || key.is_some_and(|(_, key)| gateway.0.keys.admit(key.trim()));
    if !admitted {
        return Problem::new(StatusCode::UNAUTHORIZED, "send a key of gateway.keys as Authorization: Bearer KEY")
            .into_response();
    }
    next.run(request).await
}
