//! `gateway`: takes codes over HTTP for the fleet's queue, hands out results from its store.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::commands::CommandError;
use crate::commands::assemble::{Opened, Process, address, listen, no_app};
use crate::gateway::AppIds;
use crate::telemetry::say;

const CONNECT_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(process: &Process) -> Result<(), CommandError> {
    let backend = process.settings.backend()?;
    if backend.is_embedded() {
        let hint =
            "set rabbitmq.url and redis.url, or run `quicklogin serve`, which is gateway and worker in one process";
        return Err(CommandError::settings("a gateway of its own needs a fleet, and none is configured", hint));
    }
    let apps = process.settings.appids();
    if apps.is_empty() {
        return Err(no_app());
    }
    process.settings.check_gateway()?;
    let listener = listen(process.settings.gateway.listen, "gateway.listen").await?;
    process.stop_on_signals()?;
    let opened = process.open(backend)?;
    let readiness = process.readiness(&opened, true, None);
    process.oversee(&readiness);
    let apps = AppIds::new(apps);
    process.reload_on_hangup(None, Some(apps.clone()))?;
    process.serve_ops(readiness.clone()).await;
    let parts = process.gateway(&opened, apps, readiness, 0)?;
    say(format_args!("quicklogin gateway: listening on http://{}", address(&listener)?));
    process.shutdown.tracker.spawn(connect_at_start(opened, process.shutdown.stop.soft.clone()));
    process.serve_gateway(parts, listener).await;
    process.finish().await;
    Ok(())
}

/// Connects and declares before the first caller needs it; afterwards the queue sees to that itself.
async fn connect_at_start(opened: Opened, stop: CancellationToken) {
    let connecting = async {
        while opened.queue.check().await.is_err() {
            sleep(CONNECT_EVERY).await;
        }
    };
    stop.run_until_cancelled(connecting).await;
}
