//! `worker`: takes logins from the fleet's queue until it is stopped.

use tokio::net::TcpListener;
use tracing::warn;

use crate::commands::CommandError;
use crate::commands::assemble::Process;
use crate::{http, ops};

pub(super) async fn run(process: &Process) -> Result<(), CommandError> {
    let backend = process.settings.backend()?;
    if backend.is_embedded() {
        let hint =
            "set rabbitmq.url and redis.url, or run `quicklogin serve`, which is gateway and worker in one process";
        return Err(CommandError::settings("a worker of its own needs a fleet, and none is configured", hint));
    }
    let upstream = process.wechat()?;
    process.stop_on_signals()?;
    let opened = process.open(backend)?;
    let worker = process.worker(&opened, upstream)?;
    process.reload_on_hangup(Some(worker.clone()), None)?;
    let consumer = process.consume(&opened);
    process.announce(&consumer);
    let readiness = process.readiness(&opened, false, Some(&consumer));
    process.oversee(&readiness);
    process.beat(&opened, &worker);
    serve_ops(process, readiness).await;
    let ended = process.work(&opened, worker, consumer).await;
    process.finish().await;
    ended
}

/// Several workers on one machine share one configuration; all but the first then do without these routes.
async fn serve_ops(process: &Process, readiness: ops::Readiness) {
    let address = process.settings.ops.listen;
    match TcpListener::bind(address).await {
        Ok(listener) => {
            let routes = ops::routes(readiness, process.meters.clone());
            process.shutdown.tracker.spawn(http::serve(listener, routes, process.shutdown.stop.hard.clone()));
        }
        Err(error) => warn!(%address, %error, "ops.listen is taken: this worker has no /readyz and no /metrics"),
    }
}
