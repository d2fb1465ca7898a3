//! The HTTP face: takes codes, hands out results, and takes what WeChat pushes to third-party platforms. It publishes,
//! reads and keeps; it never calls WeChat.

mod auth;
mod events;
mod poll;
mod problem;
mod submit;
mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::{Router, middleware};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::Keys;

use crate::fault_log::FaultLog;
use crate::http;
use crate::login::{AppId, MAX_BODY_BYTES, RequestId};
use crate::meters::Meters;
use crate::ops::{self, Readiness};
use crate::queue::Queue;
use crate::store::Store;
use crate::wechat::push::MessageKeys;
use problem::Problem;
use waiting::Waiting;

/// What a gateway is made of.
pub struct Parts {
    /// Where requests go.
    pub queue: Queue,
    /// Where results come from.
    pub store: Store,
    /// The apps that codes may come from.
    pub apps: AppIds,
    /// A code's life, counted from the tap.
    pub code_life: Duration,
    /// How long a result stays.
    pub result_ttl: Duration,
    /// Who may call; empty: everybody.
    pub keys: Keys,
    /// The platforms that WeChat pushes to; empty: there is no route for it.
    pub platforms: Vec<MessageKeys>,
    /// How many callers may wait for results at once.
    pub max_waiting: usize,
    /// How many connections there may be at once.
    pub max_connections: usize,
    /// What is counted.
    pub meters: Meters,
    /// What `/readyz` looks at.
    pub readiness: Readiness,
}

/// The apps of the moment; cheap to clone, and all clones change at once.
#[derive(Clone)]
pub struct AppIds(Arc<ArcSwap<BTreeSet<AppId>>>);

impl AppIds {
    /// These apps, until they are replaced.
    pub fn new(apps: BTreeSet<AppId>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(apps)))
    }

    /// Other apps from now on.
    pub fn replace(&self, apps: BTreeSet<AppId>) {
        self.0.store(Arc::new(apps));
    }
}

/// What the handlers share; cheap to clone.
#[derive(Clone)]
struct Gateway(Arc<Inner>);

struct Inner {
    queue: Queue,
    store: Store,
    apps: AppIds,
    code_life: Duration,
    result_ttl: Duration,
    keys: Keys,
    platforms: Vec<MessageKeys>,
    /// Anyone can send unsigned pushes, and they must not fill the log; but the operator has to see a wrong message_token.
    unsigned_pushes: FaultLog,
    /// Publishes that RabbitMQ did not take.
    publish_faults: FaultLog,
    taken_pushes: events::TakenPushes,
    waiting: Waiting,
    meters: Meters,
    stop: CancellationToken,
}

/// A login that has no result yet.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Pending {
    /// What to ask for the result with.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// Always `pending`.
    pub status: PendingStatus,
    /// Where the result will be, relative to this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_url: Option<String>,
    /// True if the same code was submitted before: nothing was published, and `request_id` is that of the first
    /// submission.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// The one status that is no result.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PendingStatus {
    /// There is no result yet.
    Pending,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "quicklogin gateway",
    description = "Exchanges the code of a WeChat mini program's phone-number button for the phone number, by way of a queue."
))]
struct Description;

/// Serves the gateway on `listener` until the stop; callers that wait are then answered at once.
pub async fn serve(parts: Parts, listener: TcpListener, tracker: TaskTracker, stop: CancellationToken) {
    let max_connections = parts.max_connections;
    let router = router(parts, &tracker, stop.clone());
    http::serve(listener, router, max_connections, stop).await;
}

fn router(parts: Parts, tracker: &TaskTracker, stop: CancellationToken) -> Router {
    let Parts { queue, store, apps, code_life, result_ttl, keys, platforms, max_waiting, meters, readiness, .. } =
        parts;
    let waiting = Waiting::start(store.clone(), max_waiting, meters.clone(), tracker, stop.clone());
    let ops = ops::routes(readiness, meters.clone());
    let takes_pushes = !platforms.is_empty();
    let taken_pushes = events::TakenPushes::default();
    let inner = Inner {
        queue,
        store,
        apps,
        code_life,
        result_ttl,
        keys,
        platforms,
        unsigned_pushes: FaultLog::default(),
        publish_faults: FaultLog::default(),
        taken_pushes,
        waiting,
        meters,
        stop,
    };
    let gateway = Gateway(Arc::new(inner));
    let guard = middleware::from_fn_with_state(gateway.clone(), auth::check);
    let mut routes = logins().route_layer(guard);
    if takes_pushes {
        // Beside the guard: WeChat has no key, and signs what it sends.
        routes = routes.merge(pushes());
    }
    let (routes, api) = routes.split_for_parts();
    // As bytes, since anybody may ask for it as often as they like.
    let description = Bytes::from(described(api).to_json().expect("text and numbers always serialise"));
    routes
        .with_state(gateway)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .merge(ops)
        .route(
            "/openapi.json",
            axum::routing::get(async move || ([(header::CONTENT_TYPE, "application/json")], description)),
        )
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here; see /openapi.json"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method; see /openapi.json")
        })
}

fn logins() -> OpenApiRouter<Gateway> {
    OpenApiRouter::with_openapi(Description::openapi()).routes(routes!(submit::submit)).routes(routes!(poll::poll))
}

fn pushes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(events::take, events::confirm))
}

/// The API's description in OpenAPI 3.1, made from the handlers' own types.
fn described(mut api: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    api.components.get_or_insert_default().add_security_scheme("key", bearer);
    api.info.version = env!("CARGO_PKG_VERSION").into();
    api
}

impl Pending {
    fn of(request_id: RequestId) -> Self {
        Self { request_id, status: PendingStatus::Pending, result_url: None, repeated: false }
    }
}

fn result_url(request_id: &RequestId) -> String {
    format!("/v1/logins/{request_id}")
}
