//! `worker`: takes logins from the fleet's queue until it is stopped.

use crate::commands::CommandError;
use crate::commands::assemble::Process;

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
    process.serve_ops(readiness).await;
    let ended = process.work(&opened, worker, consumer).await;
    process.finish().await;
    ended
}
