//! The line that is put under load: a fleet that runs elsewhere, or all of it in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::backend::Backend;
use crate::commands::CommandError;
use crate::commands::assemble::{Opened, Process, Upstream, address, listen};
use crate::commands::load::args::{Plan, Through};
use crate::commands::load::button::Button;
use crate::commands::load::way::{ByGateway, ByQueue, Way};
use crate::gateway::AppIds;
use crate::login::{AppId, SealingKey};
use crate::queue::Queue;
use crate::secret::Secret;
use crate::store::Store;
use crate::telemetry::say;

pub(super) struct Line {
    pub(super) button: Button,
    pub(super) sealing: Option<Arc<SealingKey>>,
    appid: Option<AppId>,
    way: WayIn,
    /// Where the queue can be looked at from here.
    queue: Option<Queue>,
}

enum WayIn {
    Gateway { url: String, key: Option<Secret> },
    Queue { queue: Queue, store: Store },
}

impl Line {
    pub(super) async fn open(process: &Process, plan: &Plan) -> Result<Self, CommandError> {
        let backend = process.settings.backend()?;
        match &plan.gateway {
            None if backend.is_embedded() => Self::in_this_process(process, plan, backend).await,
            gateway => {
                let listen = process.settings.gateway.listen;
                let here = || format!("http://{}", reachable(listen));
                let url = gateway.as_ref().map_or_else(here, |url| url.as_str().to_owned());
                Self::elsewhere(process, plan, backend, url).await
            }
        }
    }

    async fn elsewhere(process: &Process, plan: &Plan, backend: Backend, url: String) -> Result<Self, CommandError> {
        let appid = app(process, plan)?;
        let button = Button::of(&process.settings.wechat()?.base_url, appid.clone()).await?;
        let opened = if backend.is_embedded() { None } else { Some(process.open(backend)?) };
        Self::new(process, plan.through, appid, button, opened, url)
    }

    async fn in_this_process(process: &Process, plan: &Plan, backend: Backend) -> Result<Self, CommandError> {
        let appid = app(process, plan)?;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let upstream = if process.settings.apps.is_empty() {
            process.simulate(listen(anywhere, "the simulator").await?, None, vec![])?.1
        } else {
            let mut upstream = process.wechat()?;
            // A code that was made up goes nowhere else.
            upstream.client.hosts.clear();
            upstream
        };
        let button = Button::of(&upstream.client.base_url, appid.clone()).await?;
        let simulated = if upstream.simulated { ", and a simulated WeChat," } else { "" };
        let parts = format!("gateway, queue and worker{simulated} run in this process");
        say(format_args!("quicklogin load: no fleet is configured: {parts}"));
        let opened = process.open(backend)?;
        let url = start(process, &opened, upstream).await?;
        Self::new(process, plan.through, appid, button, Some(opened), url)
    }

    fn new(
        process: &Process,
        through: Through,
        appid: Option<AppId>,
        button: Button,
        opened: Option<Opened>,
        url: String,
    ) -> Result<Self, CommandError> {
        let queue = opened.as_ref().map(|opened| opened.queue.clone());
        let key = process.settings.gateway.keys.first().cloned();
        let way = match (through, opened) {
            (Through::Queue, Some(Opened { queue, store })) => WayIn::Queue { queue, store },
            // Its queue is not ours to see; and `--through queue` comes without a gateway's URL.
            _ => WayIn::Gateway { url, key },
        };
        Ok(Self { button, sealing: process.settings.sealing()?, appid, way, queue })
    }

    /// The way in, and the queue where it can be looked at. What it does in the background runs where this is called.
    pub(super) fn way(self) -> Result<(Way, Option<Queue>), CommandError> {
        let Self { appid, way, queue: seen, .. } = self;
        let way = match way {
            WayIn::Gateway { url, key } => Way::Gateway(ByGateway::new(&url, key, appid)?),
            WayIn::Queue { queue, store } => Way::Queue(ByQueue::new(queue, store, appid)),
        };
        Ok((way, seen))
    }
}

/// Worker and gateway; where the gateway listens.
async fn start(process: &Process, opened: &Opened, upstream: Upstream) -> Result<String, CommandError> {
    let apps = AppIds::new(upstream.apps.iter().map(|app| app.appid.clone()).collect());
    let worker = process.worker(opened, upstream)?;
    let consumer = process.consume(opened);
    let readiness = process.readiness(opened, true, Some(&consumer));
    let (tracker, stop) = (&process.shutdown.tracker, process.shutdown.stop.soft.clone());
    tracker.spawn(process.work(opened, worker, consumer));
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "the gateway").await?;
    let url = format!("http://{}", address(&listener)?);
    let parts = process.gateway(opened, apps, readiness, process.settings.worker.slots.into())?;
    tracker.spawn(crate::gateway::serve(parts, listener, tracker.clone(), stop));
    Ok(url)
}

/// The app that codes are of; none where nobody has to be told.
fn app(process: &Process, plan: &Plan) -> Result<Option<AppId>, CommandError> {
    match (&plan.appid, process.settings.apps.as_slice()) {
        (Some(appid), _) => Ok(Some(appid.clone())),
        (None, []) => Ok(None),
        (None, [app]) => Ok(Some(app.appid.clone())),
        (None, _) => Err(CommandError::settings("several apps are configured", "say which with --appid")),
    }
}

/// Where a listener can be called from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip().is_unspecified() {
        true => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())),
        false => listen,
    }
}
