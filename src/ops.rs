//! What operators and orchestrators ask: `/livez`, `/readyz`, `/metrics`. Live does not depend on anybody else; ready
//! does.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::http;
use crate::meters::{Exposition, Meters};
use crate::queue::Queue;
use crate::store::{Store, StoreAway, Uses};

/// A part that does not answer in this time is away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Maximum number of connections to the routes' own listener.
pub const MAX_CONNECTIONS: usize = 32;

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
    /// Why, as far as it is known; without anything secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Serves the routes on a listener of their own, so that what happens to the gateway's does not keep operators out.
pub async fn serve(readiness: Readiness, meters: Meters, listener: TcpListener, stop: CancellationToken) {
    http::serve(listener, routes(readiness, meters), MAX_CONNECTIONS, stop).await;
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
    let (missing, detail) = readiness.missing().await;
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(ReadyBody { ready: missing.is_empty(), missing, detail })).into_response()
}

/// In the format that the scraper prefers; axum answers HEAD with the same head.
fn metrics(meters: &Meters, headers: &HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let exposition = Exposition::preferred(accept);
    let headers = [(header::CONTENT_TYPE, exposition.content_type()), (header::VARY, "accept")];
    (headers, meters.render_as(exposition)).into_response()
}

impl Readiness {
    /// What this process does with the store.
    pub fn uses(&self) -> Uses {
        Uses { submits: self.publishes_to.is_some(), works: self.consuming.is_some() }
    }

    /// The parts that are away, and why, as far as that is known.
    async fn missing(&self) -> (Vec<&'static str>, Option<String>) {
        let (mut missing, mut why) = (Vec::new(), Vec::new());
        if self.stopping.is_cancelled() {
            missing.push("stopping");
        }
        if let Err(fault) = self.check_store().await {
            missing.push("store");
            // A store that is away is logged, and says nothing here that "store" does not.
            why.extend(Some(fault).filter(|_| self.store.is_connected()));
        }
        if let Some(queue) = &self.publishes_to {
            let fault = match timeout(ANSWERS_WITHIN, queue.check()).await {
                Ok(Ok(())) => None,
                Ok(Err(fault)) => Some(fault.to_string()),
                Err(_) => Some("the queue is away: it does not answer in time".to_owned()),
            };
            if let Some(fault) = fault {
                missing.push("queue");
                why.push(fault);
            }
        }
        if self.consuming.as_ref().is_some_and(|consuming| !*consuming.borrow()) {
            missing.push("consumer");
        }
        let detail = (!why.is_empty()).then(|| why.join("; "));
        (missing, detail)
    }

    /// Whether the store takes writes, and lets this process do all that it needs.
    async fn check_store(&self) -> Result<(), String> {
        let checks = async || -> Result<(), StoreAway> {
            // First what names the command that is refused.
            self.store.check_access(self.uses()).await?;
            self.store.check_writable().await
        };
        match timeout(ANSWERS_WITHIN, checks()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(away)) => Err(away.why().to_owned()),
            Err(_) => Err("the store does not answer in time".into()),
        }
    }
}
