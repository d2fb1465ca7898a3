//! The control view, `/sim/…`: what the user's phone, an operator and a test do to the simulated
//! WeChat. Bodies are JSON whatever their content type says, so that a bare `curl -d` will do.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::model::apps::AppChange;
use super::model::mint::Mint;
use super::model::moods::Mood;
use super::model::platforms::changes::{AuthorizerChange, PlatformChange, PlatformState};
use super::model::platforms::push::Push;
use super::refused::Refused;
use super::{CODES_PER_MINT_MOST, Simulator, pushes};

pub(super) fn router(simulator: Simulator) -> Router {
    Router::new()
        .route("/sim/livez", get(|| async { "ok" }))
        .route("/sim/apps", post(put_app))
        .route("/sim/codes", post(mint))
        .route("/sim/moods", post(set_mood).delete(clear_moods))
        .route("/sim/latency", post(set_latency))
        .route("/sim/tokens/invalidate", post(invalidate_tokens))
        .route("/sim/tokens/expire", post(expire_tokens))
        .route("/sim/platforms", post(put_platform).get(platform))
        .route("/sim/authorizers", post(put_authorizer))
        .route("/sim/platforms/push", post(push))
        .route("/sim/asked", get(asked).delete(forget_asked))
        .route("/sim/clock", post(advance))
        .with_state(simulator)
}

/// A refusal as the control view sends it: 400, what, and what to do.
struct Bad {
    error: String,
    hint: &'static str,
}

impl From<Refused> for Bad {
    fn from(refused: Refused) -> Self {
        Self { error: refused.to_string(), hint: refused.hint() }
    }
}

impl IntoResponse for Bad {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, axum::Json(json!({"error": self.error, "hint": self.hint}))).into_response()
    }
}

async fn put_app(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Bad> {
    simulator.put_app(read::<AppChange>(&body)?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// One code as an object, or `count` of them as a list.
async fn mint(State(simulator): State<Simulator>, body: Bytes) -> Result<(StatusCode, Response), Bad> {
    let mut said: serde_json::Map<String, Value> = read(&body)?;
    let count = said.remove("count");
    let mint: Mint = serde_json::from_value(Value::Object(said)).map_err(|error| unreadable(&error))?;
    let minted = match count {
        None => axum::Json(simulator.mint(&mint)?).into_response(),
        Some(count) => {
            let count = count.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
            if count > CODES_PER_MINT_MOST {
                return Err(Refused::new("count is not a number up to 100000", "mint more in several calls").into());
            }
            axum::Json(simulator.mint_many(&mint, count)?).into_response()
        }
    };
    Ok((StatusCode::CREATED, minted))
}

async fn set_mood(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Bad> {
    simulator.set_mood(read::<Mood>(&body)?)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_moods(State(simulator): State<Simulator>) -> StatusCode {
    simulator.clear_moods();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Latency {
    latency_ms: u64,
    #[serde(default)]
    jitter_ms: u64,
}

async fn set_latency(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Bad> {
    let Latency { latency_ms, jitter_ms } = read(&body)?;
    simulator.set_latency(latency_ms, jitter_ms);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhoseTokens {
    appid: Option<String>,
}

async fn invalidate_tokens(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Bad> {
    simulator.invalidate_tokens(read::<WhoseTokens>(&body)?.appid.as_deref())?;
    Ok(StatusCode::NO_CONTENT)
}

async fn expire_tokens(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Bad> {
    simulator.expire_tokens(read::<WhoseTokens>(&body)?.appid.as_deref())?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put_platform(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Bad> {
    simulator.put_platform(read::<PlatformChange>(&body)?)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct WhichPlatform {
    appid: Option<String>,
}

async fn platform(
    State(simulator): State<Simulator>,
    Query(which): Query<WhichPlatform>,
) -> Result<axum::Json<PlatformState>, Bad> {
    Ok(axum::Json(simulator.platform(which.appid.as_deref())?))
}

async fn put_authorizer(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Bad> {
    simulator.put_authorizer(&read::<AuthorizerChange>(&body)?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends the push where it knows where to; without a URL, whoever asked may send it.
async fn push(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Bad> {
    let posting = simulator.posting(&read::<Push>(&body)?)?;
    if posting.url.is_none() {
        return Ok(axum::Json(posting.pushed).into_response());
    }
    Ok(axum::Json(pushes::send(posting).await?).into_response())
}

#[derive(Deserialize)]
struct AskedQuery {
    /// `codes=false` leaves the list of codes out, which may be long.
    #[serde(default = "yes")]
    codes: bool,
}

fn yes() -> bool {
    true
}

async fn asked(State(simulator): State<Simulator>, Query(query): Query<AskedQuery>) -> Response {
    let asked = if query.codes { simulator.asked() } else { simulator.asked_without_codes() };
    axum::Json(asked).into_response()
}

async fn forget_asked(State(simulator): State<Simulator>) -> StatusCode {
    simulator.forget_asked();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

async fn advance(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Bad> {
    simulator.advance_ms(read::<Advance>(&body)?.advance_ms);
    Ok(StatusCode::NO_CONTENT)
}

/// An empty body is an empty object: `curl -X POST` alone mints a code.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Bad> {
    let body = if body.is_empty() { b"{}".as_slice() } else { body };
    serde_json::from_slice(body).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Bad {
    Bad {
        error: format!("cannot read the body: {error}"),
        hint: "send a JSON object as the simulator's documentation shows",
    }
}
