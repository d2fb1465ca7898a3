//! The WeChat view: HTTP in, model asked, outcome acted out. It decides nothing but how a hung, cut
//! or huge answer looks on the wire.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::Simulator;
use super::model::{Act, Outcome, TokenAsk};

const BODY_BYTES_MOST: usize = 64 * 1024;
const HUGE_CHUNK_BYTES: usize = 16 * 1024;
static HUGE_CHUNK: [u8; HUGE_CHUNK_BYTES] = [b'x'; HUGE_CHUNK_BYTES];

/// The connection is to be dropped: hyper does so, without another word, when a service fails.
#[derive(Debug)]
pub(super) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulator drops this connection")
    }
}

impl Error for Dropped {}

/// Answers what WeChat would answer at this path; anything unknown is 404.
pub(super) async fn answer(simulator: &Simulator, request: Request<Incoming>) -> Result<Response<AnswerBody>, Dropped> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let is_post = head.method == Method::POST;
    let outcome = match head.uri.path() {
        "/wxa/business/getuserphonenumber" => match read(body).await? {
            Some(body) => {
                let token = query_value(query, "access_token");
                simulator.with_model(|model, now_ms| model.phone(is_post, token.as_deref(), &body, now_ms))
            }
            None => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE)),
        },
        "/cgi-bin/stable_token" => match read(body).await? {
            Some(body) => simulator.with_model(|model, now_ms| model.stable_token(is_post, &body, now_ms)),
            None => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE)),
        },
        "/cgi-bin/token" => {
            let ask = TokenAsk {
                grant_type: query_value(query, "grant_type"),
                appid: query_value(query, "appid"),
                secret: query_value(query, "secret"),
                force_refresh: false,
            };
            simulator.with_model(|model, now_ms| model.classic_token(head.method == Method::GET, ask, now_ms))
        }
        _ => return Ok(plain(StatusCode::NOT_FOUND)),
    };
    act_out(outcome).await
}

async fn act_out(outcome: Outcome) -> Result<Response<AnswerBody>, Dropped> {
    if outcome.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(outcome.delay_ms)).await;
    }
    match outcome.act {
        Act::Answer { status, body, .. } => {
            // A step said in Rust may hold any number; one that HTTP cannot end with becomes 500.
            let status = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(json(status, AnswerBody::Whole(Some(body))))
        }
        Act::Huge { bytes } => Ok(json(StatusCode::OK, AnswerBody::Huge { left: bytes })),
        Act::Cut => Err(Dropped),
        Act::CutInBody(body) => {
            Ok(json(StatusCode::OK, AnswerBody::Half { length: body.len() as u64, next: Half::Send(body) }))
        }
        // The client going or the server stopping ends the connection, and this with it.
        Act::Hang => pending().await,
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

/// A body as it goes out.
pub(super) enum AnswerBody {
    Whole(Option<Bytes>),
    /// Announces `length` bytes and breaks off after half of them.
    Half {
        length: u64,
        next: Half,
    },
    Huge {
        left: u64,
    },
    Control(axum::body::Body),
}

pub(super) enum Half {
    Send(Bytes),
    Flush,
    Break,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Half { next, .. } => match std::mem::replace(next, Half::Flush) {
                Half::Send(body) => Poll::Ready(Some(Ok(Frame::data(body.slice(..body.len() / 2))))),
                // Waiting once lets hyper put on the wire what it has.
                Half::Flush => {
                    *next = Half::Break;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Half::Break => Poll::Ready(Some(Err(Dropped))),
            },
            Self::Huge { left: 0 } => Poll::Ready(None),
            Self::Huge { left } => {
                let chunk = HUGE_CHUNK_BYTES.min(usize::try_from(*left).unwrap_or(HUGE_CHUNK_BYTES));
                *left -= chunk as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&HUGE_CHUNK[..chunk])))))
            }
            Self::Control(body) => Pin::new(body).poll_frame(cx).map_err(|_| Dropped),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_none(),
            Self::Control(body) => body.is_end_stream(),
            Self::Half { .. } | Self::Huge { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Half { length, .. } => SizeHint::with_exact(*length),
            Self::Huge { .. } => SizeHint::default(),
            Self::Control(body) => body.size_hint(),
        }
    }
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
