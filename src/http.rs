//! Serving HTTP/1 with bounds, which axum's own server lacks: on connections, in all and of one client address; on the
//! wait for a request's head, for a response to be read, and for a whole call; on what is buffered. So callers that send
//! slowly, read nothing or say nothing cannot keep out the others.

mod connections;
mod progress;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

pub(crate) use connections::MAX_CLOSING;
use connections::{Connection, Connections};
use progress::{Progress, Stalled};

/// A connection on which no request's head arrives in this time is closed, idle ones included.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// A call that is not answered in this time, its body included, is given up; the longest wait for a result is 30 s.
const CALL_WITHIN: Duration = Duration::from_secs(40);
/// A connection whose caller reads nothing of a response for this time is closed.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Maximum size of a request's head, and of what is read ahead or waits to be written, for each connection.
const MAX_BUFFER_BYTES: usize = 16 * 1024;
/// What the kernel keeps of responses that a caller has not read; it takes twice as much for its own bookkeeping.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
const TOO_SLOW: &str =
    r#"{"type":"about:blank","title":"Request Timeout","status":408,"detail":"the call took longer than 40 s"}"#;
/// What a caller reads whose address has all its connections in use. It closes the connection.
const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
    cache-control: no-store\r\nx-content-type-options: nosniff\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 97\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections\"}";
/// The pause after a connection could not be accepted for want of a descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the stop, then returns when the last call is answered. There are at most `max_connections` at once.
pub async fn serve(listener: TcpListener, router: Router, max_connections: usize, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let (connections, tasks) = (Connections::up_to(max_connections), TaskTracker::new());
    while let Some((stream, address)) = accept(&listener, &connections, &stop).await {
        match connections.admit(address.ip()).await {
            Some(connection) => {
                tasks.spawn(converse(stream, Arc::new(connection), service.clone(), stop.clone()));
            }
            None => refuse(stream),
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// The next connection; none after the stop.
async fn accept(
    listener: &TcpListener,
    connections: &Connections,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = stop.run_until_cancelled(listener.accept()).await?;
        match accepted {
            Ok(accepted) => return Some(accepted),
            // The caller has gone again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => debug!(%error, "not accepted"),
            Err(error) => {
                if let Some(suppressed) = connections.warning("not accepted") {
                    warn!(
                        %error, suppressed,
                        "an HTTP connection could not be accepted; if there are too many open files, raise ulimit -n"
                    );
                }
                connections.make_room().await;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Tells the caller, if it listens, and closes.
fn refuse(stream: TcpStream) {
    let written = stream.into_std().and_then(|mut stream| stream.write(TOO_MANY.as_bytes()));
    if let Err(error) = written {
        debug!(%error, "a refused caller could not be told");
    }
}

/// Answers the calls of one connection. How it ends is the caller's affair, and no error here.
async fn converse(
    stream: TcpStream,
    connection: Arc<Connection>,
    service: TowerToHyperService<Router>,
    stop: CancellationToken,
) {
    // Without it small answers wait for the caller's acknowledgement; failing to set it costs nothing else.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
    let (stream, stalled) = Progress::within(READ_WITHIN, stream);
    let answer = service_fn(|request| answer(&service, &connection, &stalled, request));
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    let mut conversation = std::pin::pin!(conversation);
    tokio::select! {
        _ = &mut conversation => return,
        () = connection.closes() => return,
        () = stop.cancelled() => {}
    }
    conversation.as_mut().graceful_shutdown();
    let _ = conversation.await;
}

async fn answer(
    service: &TowerToHyperService<Router>,
    connection: &Arc<Connection>,
    stalled: &Stalled,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    // A caller that sends requests one after the other and reads no response is answered no more until it does.
    stalled.is_over().await;
    if request.body().is_end_stream() {
        connection.starts_call();
    }
    let request = request.map(|body| Arriving { body, connection: Arc::clone(connection) });
    let response = timeout(CALL_WITHIN, service.call(request)).await;
    connection.ends_call();
    let mut response = match response {
        Ok(Ok(response)) => response,
        Err(_) => {
            let headers = [(CONTENT_TYPE, "application/problem+json"), (CONNECTION, "close")];
            (StatusCode::REQUEST_TIMEOUT, headers, TOO_SLOW).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// A request's body. Until all of it is there, the connection waits for its caller.
struct Arriving {
    body: Incoming,
    connection: Arc<Connection>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || (frame.is_ready() && self.body.is_end_stream()) {
            self.connection.starts_call();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// Sends `request` to a server whose one route never answers; what it says until it hangs up, and when that was.
    /// Time is paused, and moves on when nothing else does.
    async fn said_to(request: &[u8]) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let router = Router::new().route("/never", get(std::future::pending::<()>));
        tokio::spawn(serve(listener, router, 100, CancellationToken::new()));
        let mut caller = TcpStream::connect(address).await.expect("it listens");
        caller.write_all(request).await.expect("it reads");
        let (began, mut said) = (Instant::now(), String::new());
        caller.read_to_string(&mut said).await.expect("it hangs up in order");
        (said, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_sends_half_a_head_is_hung_up_on() {
        let (said, after) = said_to(b"GET /never HTTP/1.1\r\nhost: x\r\n").await;
        assert!(!said.contains("200") && after >= HEAD_WITHIN && after < CALL_WITHIN, "{after:?}: {said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_is_given_up() {
        let (said, after) = said_to(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("application/problem+json"), "{said}");
        assert!(after >= CALL_WITHIN && after < CALL_WITHIN * 2, "{after:?}");
    }

    /// A server whose one route responds with more than the kernel buffers, and a caller that has sent `requests`, or
    /// whatever of it was taken before the server hung up.
    async fn never_reading(requests: &[u8]) -> (io::Result<()>, JoinHandle<()>, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let called = Arc::new(Notify::new());
        let is_called = Arc::clone(&called);
        let large = get(async move || {
            is_called.notify_one();
            vec![b'x'; 16 << 20]
        });
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Router::new().route("/large", large), 100, stop.clone()));
        let mut caller = TcpStream::connect(address).await.expect("it listens");
        let sent = caller.write_all(requests).await;
        called.notified().await;
        // It is kept open, and never read from.
        std::mem::forget(caller);
        (sent, serving, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_no_response_is_hung_up_on() {
        let (sent, serving, stop) = never_reading(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
        sent.expect("it reads");
        stop.cancel();
        let began = Instant::now();
        timeout(CALL_WITHIN, serving).await.expect("it does not wait for the caller").expect("no panic");
        assert!(began.elapsed() <= READ_WITHIN + Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_nothing_has_no_more_requests_answered() {
        // Responses without a body, of which there may be many in a buffer.
        let requests = b"HEAD /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200_000);
        let (sent, ..) = never_reading(&requests).await;
        sent.expect_err("the server reads no further, and hangs up");
    }

    #[tokio::test]
    async fn every_response_is_kept_from_caches_and_from_guesses_of_its_type() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let cached = get(async || ([(CACHE_CONTROL, "max-age=60")], "cached"));
        tokio::spawn(serve(listener, Router::new().route("/cached", cached), 100, CancellationToken::new()));
        for (path, expected) in [("/cached", "cache-control: max-age=60"), ("/nowhere", "cache-control: no-store")] {
            let mut caller = TcpStream::connect(address).await.expect("it listens");
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            caller.write_all(request.as_bytes()).await.expect("it reads");
            let mut said = String::new();
            caller.read_to_string(&mut said).await.expect("it hangs up in order");
            assert!(said.contains(expected) && said.contains("x-content-type-options: nosniff"), "{said}");
        }
    }

    #[test]
    fn what_a_refused_caller_reads_is_a_whole_response() {
        let (head, body) = TOO_MANY.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.ends_with(&format!("\r\ncontent-length: {}", body.len())), "{head}");
        serde_json::from_str::<serde_json::Value>(body).expect("JSON");
    }
}
