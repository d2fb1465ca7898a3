//! `simulate`: a WeChat on this machine, for the configured apps or one of its own.

use std::net::SocketAddr;

use crate::commands::Failure;
use crate::commands::assemble::{Process, SIMULATED_APPID, add_app, address, listen};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to listen; without it, simulator.listen
    #[arg(long)]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(process: &Process, args: Args) -> Result<(), Failure> {
    let wanted = args.listen.unwrap_or(process.settings.simulator.listen);
    let listener = listen(wanted, "simulator.listen").await?;
    let url = format!("http://{}", address(&listener)?);
    let apps = process.settings.apps()?;
    process.stop_on_signals()?;
    let (simulator, _) = process.simulate(listener).await?;
    for app in &apps {
        add_app(&simulator, app)?;
    }
    let known: Vec<_> = apps.iter().map(|app| app.appid.as_str()).collect();
    let known = if known.is_empty() { SIMULATED_APPID.to_owned() } else { known.join(", ") };
    eprintln!("quicklogin simulator: a WeChat for {known} at {url}");
    eprintln!("  point workers at it:  QUICKLOGIN__WECHAT__BASE_URL={url}");
    eprintln!("  tap the button:       curl -X POST {url}/sim/codes");
    process.shutdown.stop.soft.cancelled().await;
    process.finish().await;
    Ok(())
}
