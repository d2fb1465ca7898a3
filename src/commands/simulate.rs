//! `simulate`: a WeChat on this machine, for the configured apps or one of its own. `serve` and `demo` start theirs here
//! too.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;

use crate::commands::CommandError;
use crate::commands::assemble::{Process, Upstream, address, listen};
use crate::login::AppId;
use crate::simulator::{AppChange, Refused, Simulator, SimulatorOptions, Tls};
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
    /// Serve https with this certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

pub(super) async fn run(process: &Process, args: Args) -> Result<(), CommandError> {
    let wanted = args.listen.unwrap_or(process.settings.simulator.listen);
    let tls = args.tls_cert.as_deref().zip(args.tls_key.as_deref()).map(read_tls).transpose()?;
    let listener = listen(wanted, "simulator.listen").await?;
    process.stop_on_signals()?;
    let (_, upstream) = process.simulate(listener, tls, process.settings.apps()?)?;
    let url = upstream.client.base_url.as_str().trim_end_matches('/');
    let known: Vec<_> = upstream.apps.iter().map(|app| app.appid.as_str()).collect();
    say(format_args!("quicklogin simulator: a WeChat for {} at {url}", known.join(", ")));
    say(format_args!("  point workers at it:  QUICKLOGIN__WECHAT__BASE_URL={url}"));
    let curl = if args.tls_cert.is_some() {
        say(format_args!("  make them trust it:   SSL_CERT_FILE=… (PEM: whoever vouches for its certificate)"));
        "curl --cacert …"
    } else {
        "curl"
    };
    say(format_args!("  tap the button:       {curl} -X POST {url}/sim/codes -d '{{\"appid\":\"{}\"}}'", known[0]));
    process.shutdown.stop.soft.cancelled().await;
    process.finish().await;
    Ok(())
}

fn read_tls((certificate, key): (&Path, &Path)) -> Result<Tls, CommandError> {
    let read = |file: &Path| {
        let unread = |error| CommandError::settings(format!("{}: {error}", file.display()), "give it as a PEM file");
        std::fs::read(file).map_err(unread)
    };
    let refused = |refused: Refused| {
        let what = format!("{} and {}: {refused}", certificate.display(), key.display());
        CommandError::settings(what, refused.hint())
    };
    Tls::from_pem(&read(certificate)?, &read(key)?).map_err(refused)
}

impl Process {
    /// Starts a simulator that knows `apps`, or one app of its own where there are none.
    pub(super) fn simulate(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
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
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base_url = format!("{scheme}://{}", address(&listener)?);
        let (serving, stop) = (simulator.clone(), self.shutdown.stop.hard.clone());
        match tls {
            Some(tls) => self.shutdown.tracker.spawn(serving.serve_tls(listener, tls, stop)),
            None => self.shutdown.tracker.spawn(serving.serve(listener, stop)),
        };
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
