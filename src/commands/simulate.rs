//! `simulate`: a WeChat on this machine, for the configured apps or one of its own.

use std::net::SocketAddr;

use crate::commands::CommandError;
use crate::commands::assemble::{Process, address, listen};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to listen; without it, simulator.listen
    #[arg(long)]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(process: &Process, args: Args) -> Result<(), CommandError> {
    let wanted = args.listen.unwrap_or(process.settings.simulator.listen);
    let listener = listen(wanted, "simulator.listen").await?;
    let url = format!("http://{}", address(&listener)?);
    process.stop_on_signals()?;
    let (_, upstream) = process.simulate(listener, process.settings.apps()?)?;
    let known: Vec<_> = upstream.apps.iter().map(|app| app.appid.as_str()).collect();
    eprintln!("quicklogin simulator: a WeChat for {} at {url}", known.join(", "));
    eprintln!("  point workers at it:  QUICKLOGIN__WECHAT__BASE_URL={url}");
    eprintln!("  tap the button:       curl -X POST {url}/sim/codes -d '{{\"appid\":\"{}\"}}'", known[0]);
    process.shutdown.stop.soft.cancelled().await;
    process.finish().await;
    Ok(())
}
