//! `demo`: logins of every kind through the whole line, from HTTP to the result, each printed as it concludes.
//!
//! WeChat is the simulator; gateway, queue, worker and store are the real ones, embedded or RabbitMQ and Redis.

mod cases;
mod line;
mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::commands::CommandError;
use crate::commands::assemble::{Opened, Process, address, listen};
use crate::config::Settings;
use crate::gateway;
use crate::gateway::AppIds;
use crate::secret::Secret;
use crate::simulator::Simulator;
use cases::{Case, Shown};
use line::Line;

/// The demo is over in a few seconds; if not, something is wrong.
const OVER_WITHIN: Duration = Duration::from_secs(60);
/// Shorter than in production, so that nobody waits 20 s to see patience run out.
const PATIENCE_S: u64 = 4;
const DEFAULT_RABBITMQ: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";
const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379";

#[derive(clap::Args)]
pub(super) struct Args {
    /// Run on RabbitMQ and Redis, those on this machine if none are configured
    #[arg(long)]
    fleet: bool,
    /// One JSON object for each login, and one for the summary
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(process: Process, args: Args) -> Result<(), CommandError> {
    let settings = demo_settings(process.settings, args.fleet);
    let process = Process::new(settings, None);
    let backend = process.settings.backend()?;
    process.stop_on_signals()?;
    let (stopped, on_fleet) = (process.shutdown.stop.soft.clone(), !backend.is_embedded());
    let opened = process.open(backend)?;
    let outcome = tokio::select! {
        outcome = timeout(OVER_WITHIN, show(&process, &opened, args.json, on_fleet)) => outcome,
        () = stopped.cancelled() => Ok(Err(CommandError::at_run_time("stopped before the demo was over"))),
    };
    process.finish().await;
    // Not before: a worker that loses a queue declares it again.
    opened.queue.remove().await;
    outcome.unwrap_or_else(|_| {
        Err(CommandError::at_run_time(format!("the demo was not over after {} s", OVER_WITHIN.as_secs()))
            .with_hint("are RabbitMQ and Redis running, and reachable under rabbitmq.url and redis.url?"))
    })
}

/// Names of its own, so that nobody's logins are touched; a simulated WeChat only, and a quiet log.
fn demo_settings(mut settings: Settings, fleet: bool) -> Settings {
    if fleet {
        settings.rabbitmq.url.get_or_insert_with(|| Secret::from(DEFAULT_RABBITMQ));
        settings.redis.url.get_or_insert_with(|| Secret::from(DEFAULT_REDIS));
    }
    let rabbitmq = &mut settings.rabbitmq;
    let names = [&mut rabbitmq.exchange, &mut rabbitmq.queue, &mut rabbitmq.dead_queue, &mut rabbitmq.results_queue];
    for name in names {
        name.push_str(".demo");
    }
    rabbitmq.declare = true;
    settings.redis.prefix.push_str("-demo");
    settings.result.encryption = false;
    settings.login.patience_s = PATIENCE_S;
    settings.gateway.keys.clear();
    settings.platforms.clear();
    settings
}

async fn show(process: &Process, opened: &Opened, json: bool, on_fleet: bool) -> Result<(), CommandError> {
    let (simulator, url) = start_line(process, opened).await?;
    let line = Line::new(url, simulator.clone(), opened.queue.clone());
    line.wait_until_ready().await?;
    let mut table = table::Table::begin(json, on_fleet)?;
    for case in Case::one_after_another() {
        table.row(&line.walk(case).await)?;
    }
    let (concluded, mut rows) = mpsc::channel::<Shown>(64);
    for case in Case::all_at_once() {
        let (line, concluded) = (line.clone(), concluded.clone());
        // Nobody listens any more when the demo was stopped.
        process.shutdown.tracker.spawn(async move { concluded.send(line.walk(case).await).await.is_ok() });
    }
    drop(concluded);
    while let Some(row) = rows.recv().await {
        table.row(&row)?;
    }
    table.end(&simulator.asked_without_codes())
}

/// Simulator, worker and gateway, each on a free port of this machine.
async fn start_line(process: &Process, opened: &Opened) -> Result<(Simulator, String), CommandError> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (simulator, upstream) = process.simulate(listen(anywhere, "the simulator").await?, None, vec![])?;
    cases::prepare(&simulator)?;
    let apps = AppIds::new(upstream.apps.iter().map(|app| app.appid.clone()).collect());
    let worker = process.worker(opened, upstream)?;
    let consumer = process.consume(opened);
    let readiness = process.readiness(opened, true, Some(&consumer));
    let tracker = &process.shutdown.tracker;
    tracker.spawn(process.work(opened, worker, consumer));
    let listener = listen(anywhere, "the gateway").await?;
    let url = format!("http://{}", address(&listener)?);
    let parts = process.gateway(opened, apps, readiness, process.settings.worker.slots.into())?;
    tracker.spawn(gateway::serve(parts, listener, tracker.clone(), process.shutdown.stop.soft.clone()));
    Ok((simulator, url))
}
