//! `simulate`: a WeChat on this machine, for the configured apps or one of its own. `serve` and `demo` start theirs here
//! too.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::commands::CommandError;
use crate::commands::assemble::{Process, Upstream, address, listen};
use crate::login::AppId;
use crate::simulator::{AppChange, Simulator, SimulatorOptions};
use crate::telemetry::say;
use crate::token::{App, KeptSecret, Source};
use crate::wechat::ClientSettings;

/// The app that the simulator knows when none is configured.
pub(super) const SIMULATED_APPID: &str = "wx0123456789abcdef";
const SIMULATED_SECRET: &str = "0123456789abcdef0123456789abcdef";

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
    say(format_args!("quicklogin simulator: a WeChat for {} at {url}", known.join(", ")));
    say(format_args!("  point workers at it:  QUICKLOGIN__WECHAT__BASE_URL={url}"));
    say(format_args!("  tap the button:       curl -X POST {url}/sim/codes -d '{{\"appid\":\"{}\"}}'", known[0]));
    process.shutdown.stop.soft.cancelled().await;
    process.finish().await;
    Ok(())
}

impl Process {
    /// Starts a simulator that knows `apps`, or one app of its own where there are none.
    pub(super) fn simulate(
        &self,
        listener: TcpListener,
        mut apps: Vec<App>,
    ) -> Result<(Simulator, Upstream), CommandError> {
        let from = &self.settings.simulator;
        let options =
            SimulatorOptions { latency_ms: from.latency_ms, jitter_ms: from.jitter_ms, ..SimulatorOptions::default() };
        let simulator = Simulator::new(&options);
        if apps.is_empty() {
            apps.push(simulated_app());
        }
        for app in &apps {
            let refused =
                |refused| CommandError::at_run_time(format!("the simulator refuses app {}: {refused}", app.appid));
            // One whose token comes from elsewhere is known there too, without a secret that anybody knows.
            let secret = app.source.secret().map_or_else(|| Ok(SIMULATED_SECRET.into()), KeptSecret::read);
            let secret = secret.map_err(CommandError::at_run_time)?;
            simulator.put_app(AppChange::new(app.appid.as_str(), secret.expose())).map_err(refused)?;
        }
        let base_url = format!("http://{}", address(&listener)?);
        let serving = simulator.clone().serve(listener, self.shutdown.stop.hard.clone());
        self.shutdown.tracker.spawn(serving);
        // And no other host: what is simulated goes nowhere else.
        let base_url = base_url.parse().expect("an address makes a URL");
        let client = ClientSettings { base_url, hosts: vec![], ..self.settings.wechat()? };
        Ok((simulator, Upstream { client, apps, simulated: true }))
    }
}

fn simulated_app() -> App {
    let appid = AppId::try_from(SIMULATED_APPID).expect("a good appid");
    App { appid, source: Source::Stable { secret: KeptSecret::Text(SIMULATED_SECRET.into()), may_force: false } }
}
