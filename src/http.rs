//! Serving HTTP/1 with bounds, which axum's own server lacks: on connections, on the wait for a request's head, and on a
//! whole call, so that slow or silent callers cannot hold the gateway.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

/// So many connections at once; further callers wait to be accepted.
const MAX_CONNECTIONS: usize = 20_000;
/// A connection on which no request's head arrives in this time is closed, idle ones included.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// A call that is not answered in this time, its body included, is given up; the longest wait for a result is 30 s.
const CALL_WITHIN: Duration = Duration::from_secs(40);
const TOO_SLOW: &str =
    r#"{"type":"about:blank","title":"Request Timeout","status":408,"detail":"the call took longer than 40 s"}"#;
/// The pause after a connection could not be accepted: out of file descriptors, mostly, and those come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the stop, then returns when the last call is answered.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let (connections, room) = (TaskTracker::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    while let Some(stream) = accept(&listener, &stop).await {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { break };
        let conversation = converse(stream, service.clone(), stop.clone());
        connections.spawn(async move {
            conversation.await;
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

/// The next connection; none after the stop.
async fn accept(listener: &TcpListener, stop: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted = stop.run_until_cancelled(listener.accept()).await?;
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the calls of one connection. How it ends is the caller's affair, and no error here.
async fn converse(stream: TcpStream, service: TowerToHyperService<Router>, stop: CancellationToken) {
    // Without it small answers wait for the caller's acknowledgement; failing to set it costs nothing else.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(|request| answer(&service, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn answer(
    service: &TowerToHyperService<Router>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    match timeout(CALL_WITHIN, service.call(request)).await {
        Ok(answered) => answered,
        Err(_) => {
            let headers = [(CONTENT_TYPE, "application/problem+json"), (CONNECTION, "close")];
            Ok((StatusCode::REQUEST_TIMEOUT, headers, TOO_SLOW).into_response())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    /// Sends `request` to a server whose one route never answers; what it says until it hangs up, and when that was.
    /// Time is paused, and moves on when nothing else does.
    async fn said_to(request: &[u8]) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let router = Router::new().route("/never", get(std::future::pending::<()>));
        tokio::spawn(serve(listener, router, CancellationToken::new()));
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
}
