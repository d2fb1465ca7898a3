//! `gateway`: takes codes over HTTP for the fleet's queue, hands out results from its store.

use crate::commands::CommandError;
use crate::commands::assemble::{Process, address, listen, no_app};

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
    eprintln!("quicklogin gateway: listening on http://{}", address(&listener)?);
    let parts = process.gateway(&opened, apps, readiness);
    process.serve_gateway(parts, listener).await;
    process.finish().await;
    Ok(())
}
