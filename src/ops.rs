//! What operators and orchestrators ask: `/livez`, `/readyz`, `/metrics`. Live does not depend on anybody else; ready
//! does.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::meters::Meters;
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
    /// Why requests cannot be published.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
}

/// The three routes.
pub fn routes(readiness: Readiness, meters: Meters) -> Router {
    let readiness = Arc::new(readiness);
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(move || ready(Arc::clone(&readiness))))
        .route("/metrics", get(async move || metrics(&meters)))
}

async fn ready(readiness: Arc<Readiness>) -> Response {
    let (missing, queue) = readiness.missing().await;
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(ReadyBody { ready: missing.is_empty(), missing, queue })).into_response()
}

fn metrics(meters: &Meters) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], meters.render()).into_response()
}

impl Readiness {
    /// The parts that are away, and why the queue is.
    async fn missing(&self) -> (Vec<&'static str>, Option<String>) {
        let (mut missing, mut queue_fault) = (Vec::new(), None);
        if self.stopping.is_cancelled() {
            missing.push("stopping");
        }
        if !matches!(timeout(ANSWERS_WITHIN, self.store.check_writable()).await, Ok(Ok(()))) {
            missing.push("store");
        }
        if let Some(queue) = &self.publishes_to {
            let fault = match timeout(ANSWERS_WITHIN, queue.check()).await {
                Ok(Ok(())) => None,
                Ok(Err(fault)) => Some(fault.to_string()),
                Err(_) => Some("the queue is away: it does not answer in time".to_owned()),
            };
            if fault.is_some() {
                missing.push("queue");
                queue_fault = fault;
            }
        }
        if self.consuming.as_ref().is_some_and(|consuming| !*consuming.borrow()) {
            missing.push("consumer");
        }
        (missing, queue_fault)
    }
}
