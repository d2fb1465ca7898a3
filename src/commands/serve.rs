//! `serve`: gateway and worker in one process, on a fleet's backend or on none.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::commands::CommandError;
use crate::commands::assemble::{Process, Upstream, address, listen};
use crate::commands::simulate::SIMULATED_APPID;
use crate::gateway::AppIds;
use crate::telemetry::say;

pub(super) async fn run(process: &Process) -> Result<(), CommandError> {
    let backend = process.settings.backend()?;
    process.settings.check_gateway()?;
    let alone = backend.is_embedded();
    let simulated = alone && process.settings.apps.is_empty();
    let wechat = if simulated { None } else { Some(process.wechat()?) };
    let listener = listen(process.settings.gateway.listen, "gateway.listen").await?;
    let upstream = match wechat {
        Some(wechat) => wechat,
        None => stand_in(process).await?,
    };
    say(format_args!(
        "quicklogin serve: gateway and worker in one process; Ctrl-C stops it, --help lists the commands"
    ));
    if alone {
        say(format_args!(
            "quicklogin: no RabbitMQ and no Redis are configured: everything is in this process, and nothing survives a restart"
        ));
    }
    process.stop_on_signals()?;
    let opened = process.open(backend)?;
    let apps = AppIds::new(upstream.apps.iter().map(|app| app.appid.clone()).collect());
    let worker = process.worker(&opened, upstream)?;
    process.reload_on_hangup(Some(worker.clone()), Some(apps.clone()))?;
    let consumer = process.consume(&opened);
    process.announce(&consumer);
    let readiness = process.readiness(&opened, true, Some(&consumer));
    process.oversee(&readiness);
    process.beat(&opened, &worker);
    process.serve_ops(readiness.clone()).await;
    let parts = process.gateway(&opened, apps, readiness, process.settings.worker.slots.into())?;
    say(format_args!("quicklogin gateway: listening on http://{}", address(&listener)?));
    // The gateway goes on while the worker drains: its callers wait for what the worker is finishing.
    let ((), ended) = tokio::join!(process.serve_gateway(parts, listener), process.work(&opened, worker, consumer));
    process.finish().await;
    ended
}

/// A simulated WeChat, since there is no app that the real one would know.
async fn stand_in(process: &Process) -> Result<Upstream, CommandError> {
    let wanted = process.settings.simulator.listen;
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = match TcpListener::bind(wanted).await {
        Ok(listener) => listener,
        Err(_) => listen(anywhere, "simulator.listen").await?,
    };
    let url = format!("http://{}", address(&listener)?);
    say(format_args!("quicklogin: no app is configured: a SIMULATED WeChat stands in, and every result says so"));
    say(format_args!("  tap the button of app {SIMULATED_APPID}:  curl -X POST {url}/sim/codes"));
    let (_, upstream) = process.simulate(listener, None, vec![])?;
    Ok(upstream)
}
