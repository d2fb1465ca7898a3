//! Serving: an accept loop of our own on hyper, because an axum handler cannot hang up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::counts::Open;
use super::pushes::Pushes;
use super::tls::Tls;
use super::wechat_view::{self, AnswerBody, Dropped};
use super::{Simulator, control_view};

const ACCEPT_PAUSE_MS: u64 = 50;

/// Both views, shared by all connections.
struct Views {
    simulator: Simulator,
    control: TowerToHyperService<Router>,
    pushes: Pushes,
    tls: Option<Tls>,
}

pub(super) async fn serve(
    simulator: Simulator,
    listener: TcpListener,
    tls: Option<Tls>,
    stop: CancellationToken,
) -> io::Result<()> {
    let control = TowerToHyperService::new(control_view::router(simulator.clone()));
    let connections = TaskTracker::new();
    let pushes = Pushes::start(&connections, stop.clone());
    let views = Arc::new(Views { simulator, control, pushes, tls });
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // A child: on one and the same token all connections would wait for each other.
                let (views, stop) = (Arc::clone(&views), stop.child_token());
                connections.spawn(async move {
                    stop.run_until_cancelled(welcome(views, stream)).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: those in use come back.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn welcome(views: Arc<Views>, stream: TcpStream) {
    let _open = Open::count(views.simulator.clone());
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(tls) = &views.tls else { return converse(views, stream).await };
    let shaken = tls.shake_hands(stream).await;
    views.simulator.shared.counts.handshake(shaken.as_ref().map(|(_, kind)| *kind));
    if let Some((stream, _)) = shaken {
        converse(views, stream).await;
    }
}

async fn converse(views: Arc<Views>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let idle = views.simulator.shared.idle;
    let answer = service_fn(move |request| answer(Arc::clone(&views), request));
    // hyper waits for the head of a next request no longer than this, so an idle connection ends.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), answer);
    // How a connection ends is the client's affair, or a step's: neither is an error here.
    let _ = connection.await;
}

async fn answer(views: Arc<Views>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Dropped> {
    if request.uri().path().starts_with("/sim/") {
        let answered = views.control.call(request).await;
        return answered.map(|response| response.map(AnswerBody::Control)).map_err(|never| match never {});
    }
    wechat_view::answer(&views.simulator, &views.pushes, request).await
}
