//! The connection that is published on: made when it is needed, once for all who wait, and given up when it fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::queue::PublishFault;
use crate::queue::rabbit::dial::{Endpoints, SHORT_FRAMES};
use crate::queue::rabbit::{RabbitSettings, bounded, topology};

/// After a failed connection, publishes are refused at once for so long, so that they do not queue up behind dials.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// lapin tells of an alarm by a status; so often it is looked at while somebody waits.
const ALARM_SEEN_WITHIN: Duration = Duration::from_millis(100);

/// Makes links; cheap to clone.
#[derive(Clone)]
pub(super) struct Links(Arc<Parts>);

struct Parts {
    endpoints: Endpoints,
    settings: RabbitSettings,
    tracker: TaskTracker,
    state: watch::Sender<State>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    failed: Option<(Instant, PublishFault)>,
    connecting: bool,
}

/// A connection and those of its channels that are free.
pub(super) struct Link {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
}

impl Links {
    pub(super) fn new(endpoints: Endpoints, settings: RabbitSettings, tracker: TaskTracker) -> Self {
        Self(Arc::new(Parts { endpoints, settings, tracker, state: watch::Sender::default() }))
    }

    /// The link of the moment, made when there is none.
    pub(super) async fn current(&self) -> Result<Arc<Link>, PublishFault> {
        let mut state = self.0.state.subscribe();
        loop {
            if let Some(known) = state.borrow_and_update().known() {
                return known;
            }
            self.connect_behind();
            state.changed().await.expect("its sender is here");
        }
    }

    /// By itself, so that it does not end with whoever has no more time to wait for it.
    fn connect_behind(&self) {
        let begins = |state: &mut State| !std::mem::replace(&mut state.connecting, true);
        if self.0.state.send_if_modified(begins) {
            let links = self.clone();
            self.0.tracker.spawn(async move {
                let connected = links.connect().await.map_err(|error| away(&error.to_string()));
                links.0.state.send_modify(|state| *state = State::after(connected));
            });
        }
    }

    async fn connect(&self) -> lapin::Result<Link> {
        let Parts { endpoints, settings, .. } = &*self.0;
        let name = format!("{} publishing", settings.connection_name);
        let connection = endpoints.connect(&name, SHORT_FRAMES).await?;
        topology::ensure(&connection, settings).await?;
        Ok(Link { connection, idle: Mutex::default() })
    }

    /// A publish failed or hung: this link is not to be trusted any more.
    pub(super) fn give_up(&self, link: &Arc<Link>) {
        if link.is_blocked() {
            return;
        }
        self.0.state.send_if_modified(|state| {
            let is_current = state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link));
            if is_current {
                state.link = None;
            }
            is_current
        });
    }
}

impl State {
    fn after(connected: Result<Link, PublishFault>) -> Self {
        match connected {
            Ok(link) => Self { link: Some(Arc::new(link)), ..Self::default() },
            Err(fault) => Self { failed: Some((Instant::now(), fault)), ..Self::default() },
        }
    }

    /// None: somebody has to connect.
    fn known(&self) -> Option<Result<Arc<Link>, PublishFault>> {
        let link = self.link.as_ref().filter(|link| link.connection.status().connected());
        let failed = || self.failed.as_ref().filter(|(at, _)| at.elapsed() < RETRY_AFTER);
        link.map(|link| Ok(Arc::clone(link))).or_else(|| failed().map(|(_, fault)| Err(fault.clone())))
    }
}

impl Link {
    /// A channel that confirms, for one publish at a time.
    pub(super) async fn channel(&self) -> lapin::Result<Channel> {
        let idle = self.idle.lock().expect("nothing panics while holding it").pop();
        if let Some(channel) = idle.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let channel = bounded(self.connection.create_channel()).await?;
        bounded(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    /// It is free again.
    pub(super) fn take_back(&self, channel: Channel) {
        self.idle.lock().expect("nothing panics while holding it").push(channel);
    }

    /// Whether an alarm is on, as far as RabbitMQ has told.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Returns when an alarm is on.
    pub(super) async fn blocked(&self) {
        while !self.is_blocked() {
            sleep(ALARM_SEEN_WITHIN).await;
        }
    }
}

pub(super) fn away(why: &str) -> PublishFault {
    PublishFault::Away(why.to_owned())
}
