//! What operators and orchestrators ask: `/livez`, `/readyz`, `/metrics`. Live does not depend on anybody else; ready
//! does.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::meters::{Exposition, Meters};
use crate::queue::Queue;
use crate::store::Store;

/// A part that does not answer in this time is away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// What readiness depends on; cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    /// The store has to answer.
    pub store: Store,
    /// A gateway has to be able to publish.
    pub publishes_to: Option<Queue>,
    /// A worker has to be consuming.
    pub consuming: Option<watch::Receiver<bool>>,
    /// Nobody should be sent to a process that stops.
    pub stopping: CancellationToken,
}

#[derive(Serialize)]
struct ReadyBody {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<&'static str>,
}

/// The three routes.
pub fn routes(readiness: Readiness, meters: Meters) -> Router {
    let readiness = Arc::new(readiness);
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(move || ready(Arc::clone(&readiness))))
        .route("/metrics", get(async move |headers: HeaderMap| metrics(&meters, &headers)))
}

async fn ready(readiness: Arc<Readiness>) -> Response {
    let missing = readiness.missing().await;
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(ReadyBody { ready: missing.is_empty(), missing })).into_response()
}

/// In the format that the scraper prefers; axum answers HEAD with the same head.
fn metrics(meters: &Meters, headers: &HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let exposition = Exposition::preferred(accept);
    let headers = [(header::CONTENT_TYPE, exposition.content_type()), (header::VARY, "accept")];
    (headers, meters.render_as(exposition)).into_response()
}

impl Readiness {
    async fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.stopping.is_cancelled() {
            missing.push("stopping");
        }
        if !matches!(timeout(ANSWERS_WITHIN, self.store.check_writable()).await, Ok(Ok(()))) {
            missing.push("store");
        }
        if let Some(queue) = &self.publishes_to
            && !matches!(timeout(ANSWERS_WITHIN, queue.check()).await, Ok(Ok(())))
        {
            missing.push("queue");
        }
        if self.consuming.as_ref().is_some_and(|consuming| !*consuming.borrow()) {
            missing.push("consumer");
        }
        missing
    }
}
