//! The WeChat view: HTTP in, model asked, outcome acted out. It decides nothing but how a hung, cut
//! or huge answer looks on the wire.

mod answer_body;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;

pub(super) use self::answer_body::AnswerBody;
use self::answer_body::Half;
use super::Simulator;
use super::model::{Act, ComponentCall, ComponentRequest, Outcome, Posting, TokenAsk};
use super::pushes::Pushes;

const BODY_BYTES_MOST: usize = 64 * 1024;

/// The connection is to be dropped: hyper does so, without another word, when a service fails.
#[derive(Debug)]
pub(super) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulator drops this connection")
    }
}

impl Error for Dropped {}

/// What WeChat answers at.
#[derive(Clone, Copy)]
enum Call {
    Phone,
    StableToken,
    ClassicToken,
    Component(ComponentCall),
}

impl Call {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/wxa/business/getuserphonenumber" => Self::Phone,
            "/cgi-bin/stable_token" => Self::StableToken,
            "/cgi-bin/token" => Self::ClassicToken,
            "/cgi-bin/component/api_component_token" => Self::Component(ComponentCall::ComponentToken),
            "/cgi-bin/component/api_authorizer_token" => Self::Component(ComponentCall::AuthorizerToken),
            "/cgi-bin/component/api_get_authorizer_list" => Self::Component(ComponentCall::AuthorizerList),
            "/cgi-bin/component/api_start_push_ticket" => Self::Component(ComponentCall::StartPush),
            _ => return None,
        })
    }
}

/// Answers what WeChat would answer at this path; anything unknown is 404.
pub(super) async fn answer(
    simulator: &Simulator,
    pushes: &Pushes,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Dropped> {
    let (head, body) = request.into_parts();
    let Some(call) = Call::at(head.uri.path()) else {
        return Ok(plain(StatusCode::NOT_FOUND));
    };
    let Some(body) = read(body).await? else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let arrived = Instant::now();
    let (outcome, posting) = ask(simulator, call, &head, &body);
    if let Some(posting) = posting {
        pushes.begin(posting);
    }
    let latency = Duration::from_millis(outcome.delay_ms);
    let answer = act_out(outcome).await;
    if matches!((call, &answer), (Call::Phone, Ok(_))) {
        simulator.shared.counts.late_by(arrived.elapsed().saturating_sub(latency));
    }
    answer
}

/// The same without a socket, for whoever can do without pushes. None where the connection would be dropped.
pub(super) async fn answer_in_process(simulator: &Simulator, request: Request<Bytes>) -> Option<(u16, Bytes)> {
    let (head, body) = request.into_parts();
    let Some(call) = Call::at(head.uri.path()) else {
        return Some((StatusCode::NOT_FOUND.as_u16(), Bytes::new()));
    };
    let (outcome, _) = ask(simulator, call, &head, &body);
    wait(outcome.delay_ms).await;
    match outcome.act {
        Act::Answer { status, body, .. } => Some((status, body)),
        Act::Huge { bytes } => Some((StatusCode::OK.as_u16(), vec![b'x'; usize::try_from(bytes).ok()?].into())),
        Act::Cut | Act::CutInBody(_) => None,
        Act::Hang | Act::HangInBody(_) => pending().await,
    }
}

/// What becomes of a call, and what is to be pushed because of it.
fn ask(simulator: &Simulator, call: Call, head: &Parts, body: &[u8]) -> (Outcome, Option<Posting>) {
    let query = head.uri.query().unwrap_or_default();
    let is_post = head.method == Method::POST;
    let token = query_value(query, "access_token");
    simulator.with_model(|model, now_ms| match call {
        Call::Phone => (model.phone(is_post, token.as_deref(), body, now_ms), None),
        Call::StableToken => (model.stable_token(is_post, body, now_ms), None),
        Call::ClassicToken => (model.classic_token(head.method == Method::GET, classic_ask(query), now_ms), None),
        Call::Component(call) => {
            // Older documents have the first name for it, newer ones the second.
            let token = query_value(query, "component_access_token").or(token);
            model.component(call, &ComponentRequest { is_post, token, body }, now_ms)
        }
    })
}

fn classic_ask(query: &str) -> TokenAsk<'_> {
    TokenAsk {
        grant_type: query_value(query, "grant_type"),
        appid: query_value(query, "appid"),
        secret: query_value(query, "secret"),
        force_refresh: false,
    }
}

async fn act_out(outcome: Outcome) -> Result<Response<AnswerBody>, Dropped> {
    wait(outcome.delay_ms).await;
    match outcome.act {
        Act::Answer { status, headers, body, .. } => {
            // A step said in Rust may hold any number; one that HTTP cannot end with becomes 500.
            let status = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = json(status, AnswerBody::Whole(Some(body)));
            // A step said in Rust may name any header; one that HTTP does not have is left out.
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    response.headers_mut().insert(name, value);
                }
            }
            Ok(response)
        }
        Act::Huge { bytes } => Ok(json(StatusCode::OK, AnswerBody::Huge { left: bytes })),
        Act::Cut => Err(Dropped),
        Act::CutInBody(body) => {
            let length = body.len() as u64;
            Ok(json(StatusCode::OK, AnswerBody::Half { length, next: Half::Send(body), hangs: false }))
        }
        Act::HangInBody(body) => {
            let length = body.len() as u64;
            Ok(json(StatusCode::OK, AnswerBody::Half { length, next: Half::Send(body), hangs: true }))
        }
        // The client going or the server stopping ends the connection, and this with it.
        Act::Hang => pending().await,
    }
}

async fn wait(delay_ms: u64) {
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
}

fn json(status: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; encoding=utf-8"));
    response
}

fn plain(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = status;
    response
}

/// The body of a request, or `None` where it is too big to be anybody's.
async fn read(mut body: Incoming) -> Result<Option<Bytes>, Dropped> {
    let mut whole = Bytes::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|_| Dropped)?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > BODY_BYTES_MOST {
            return Ok(None);
        }
        // Nearly always the first frame is the whole body.
        whole = if whole.is_empty() { data } else { [whole.as_ref(), data.as_ref()].concat().into() };
    }
    Ok(Some(whole))
}

/// One value of a query, decoded; borrowed where there is nothing to decode.
fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
    if !value.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(value));
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = hex.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    Some(Cow::Owned(String::from_utf8_lossy(&decoded).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::query_value;

    #[test]
    fn a_query_value_is_found_and_decoded() {
        let query = "access_tokens=no&access_token=92_a-b&secret=a%2Fb+c%&empty=";
        assert_eq!(query_value(query, "access_token").as_deref(), Some("92_a-b"));
        assert_eq!(query_value(query, "secret").as_deref(), Some("a/b c%"));
        assert_eq!(query_value(query, "empty").as_deref(), Some(""));
        assert_eq!(query_value(query, "appid"), None);
    }
}
