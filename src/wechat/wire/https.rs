//! Calls over HTTP/1.1, with TLS where the URL says so.
//!
//! Not by reqwest, but by the pool and the connections that are inside it: what reqwest does to each call (it reads the
//! URL anew, prints it, copies the headers) cost a login a sixth of its CPU, and nothing of it is needed here. What
//! reqwest promises of its own accord is said here: no proxy, no redirect, and no call is ever sent twice, except one
//! on a connection that was found closed before a byte of it was written.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::{Call, Heard, MAX_ANSWER_BYTES, Partial, bounded};
use crate::wechat::answer::{self, Fault};
use crate::wechat::{ClientError, ClientSettings};

const QUICKLOGIN: HeaderValue = HeaderValue::from_static(concat!("quicklogin/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What TCP asks of a peer that says nothing, as reqwest has it. Calls have a bound of their own, far below.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MOST: Duration = Duration::from_secs(30);

/// Connections to WeChat, and those that make them.
pub(in crate::wechat) struct Https(legacy::Client<Dial, Full<Cursor<Vec<u8>>>>);

impl Https {
    pub(super) fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let dial = Dial::new(settings.connect_timeout)?;
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(settings.pool_idle)
            .pool_timer(TokioTimer::new())
            // What is sent is so little that it is copied together faster than it is written from two places.
            .http1_writev(false)
            .set_host(false)
            .build(dial);
        Ok(Self(client))
    }

    pub(super) async fn carry(&self, call: Call, partial: &Partial) -> Result<Heard, Fault> {
        let response = self.0.request(request(call)).await.map_err(|error| answer::unanswered(&error))?;
        body_of(response.status().as_u16(), response.into_body(), partial).await
    }
}

fn request(call: Call) -> Request<Full<Cursor<Vec<u8>>>> {
    let Call { url, authorization, body } = call;
    let posted = body.is_some();
    let mut request = Request::new(Full::new(Cursor::new(body.unwrap_or_default())));
    // Neither user nor default port is in it.
    let host = url.authority().expect("a call goes to a host").as_str();
    let host = HeaderValue::from_str(host).expect("a host has no line break");
    *request.uri_mut() = url;
    let headers = request.headers_mut();
    // These, and the length, which hyper adds.
    headers.reserve(5);
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, QUICKLOGIN);
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
    if posted {
        headers.insert(CONTENT_TYPE, JSON);
        *request.method_mut() = Method::POST;
    }
    request
}

/// An answer is mostly so short that it comes in one piece, and is not copied then. Of one that breaks off, or is too
/// long, there is what has come.
async fn body_of(status: u16, mut body: Incoming, partial: &Partial) -> Result<Heard, Fault> {
    let mut is_first = true;
    while let Some(frame) = body.frame().await {
        let piece = match frame {
            Ok(frame) => frame.into_data(),
            Err(error) => {
                let cut = answer::cut_off(&error);
                return partial.take(Some(cut.clone())).ok_or(cut);
            }
        };
        let Ok(piece) = piece else { continue };
        if is_first && body.is_end_stream() {
            return Ok(bounded(Heard::whole(status, piece)));
        }
        is_first = false;
        if partial.add(status, &piece) > MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(bounded(partial.take(None).unwrap_or_else(|| Heard::whole(status, Bytes::new()))))
}

/// Makes connections, each in a bounded time: name look-up, TCP and TLS together. Cloned for each call, so it is one
/// pointer.
#[derive(Clone)]
struct Dial(Arc<Dialling>);

struct Dialling {
    connector: HttpsConnector<HttpConnector>,
    limit: Duration,
}

impl Dial {
    fn new(limit: Duration) -> Result<Self, ClientError> {
        let connector = HttpsConnector::from((tcp(limit), tls()?));
        Ok(Self(Arc::new(Dialling { connector, limit })))
    }
}

impl Service<Uri> for Dial {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    /// As those are of which it is made.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Dialling { connector, limit } = &*self.0;
        let dialling = timeout(*limit, connector.clone().call(to));
        Box::pin(async {
            let too_late = |_| io::Error::new(io::ErrorKind::TimedOut, "there was no connection in time");
            dialling.await.map_err(too_late)?
        })
    }
}

fn tcp(limit: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // It shares this out among the addresses of a name, so that a dead one leaves time for the next.
    tcp.set_connect_timeout(Some(limit));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MOST));
    tcp
}

/// Whom this machine trusts is trusted.
fn tls() -> Result<ClientConfig, ClientError> {
    let ours = || Arc::new(aws_lc_rs::default_provider());
    let provider = CryptoProvider::get_default().cloned().unwrap_or_else(ours);
    let failed = |error: rustls::Error| ClientError(answer::cause(&error));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)?;
    let mut config = config.with_platform_verifier().map_err(failed)?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
