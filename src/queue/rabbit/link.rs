//! The connection that is published on: made when it is needed, once for all who wait, and given up when it fails.
//!
//! Its channels are a pool. The pool is as large as RabbitMQ allows: by `channel_max` of both sides, and by the limits of
//! the user and the node, which RabbitMQ enforces by closing the connection.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::queue::PublishFault;
use crate::queue::rabbit::dial::{Endpoints, SHORT_FRAMES};
use crate::queue::rabbit::{RabbitSettings, bounded, fault, open_channel, topology};

/// The maximum number of channels, and so of publishes in flight.
const MAX_CHANNELS: usize = 128;
/// After a failed connection, publishes are refused at once for so long, so that they do not queue up behind dials.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// lapin tells of an alarm by a status; so often it is looked at while somebody waits.
const ALARM_SEEN_WITHIN: Duration = Duration::from_millis(100);
/// A limit that RabbitMQ has enforced applies to connections that are made in this time; then more are tried again.
const LIMIT_HOLDS_FOR: Duration = Duration::from_secs(600);
/// RabbitMQ counts the channels of a closed connection for a moment longer. Attempts to connect again meanwhile, and the
/// pause between two.
const LIMIT_ATTEMPTS: u32 = 15;
const LIMIT_PAUSE: Duration = Duration::from_millis(100);

/// Makes links; cheap to clone.
#[derive(Clone)]
pub(super) struct Links(Arc<Parts>);

struct Parts {
    endpoints: Endpoints,
    settings: RabbitSettings,
    tracker: TaskTracker,
    state: watch::Sender<State>,
    /// The number of channels that RabbitMQ allowed, and since when that is known.
    limit: Mutex<Option<(Instant, usize)>>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    failed: Option<(Instant, PublishFault)>,
    connecting: bool,
}

/// A connection and its channels.
pub(super) struct Link {
    connection: Connection,
    idle: Mutex<Vec<Lane>>,
    /// How many channels are open.
    open: Arc<AtomicUsize>,
    /// A permit for each channel that may be in use.
    permits: Arc<Semaphore>,
    /// Held while a channel is opened: one at a time, so that it is known how many RabbitMQ allows.
    opening: tokio::sync::Mutex<()>,
    /// How many channels were open when RabbitMQ refused one more; 0 if it has refused none.
    refused_at: AtomicUsize,
    given_up: AtomicBool,
}

/// A channel that confirms, for one publish at a time. Dropped instead of taken back, it is closed.
pub(super) struct Lane {
    pub(super) channel: Channel,
    _counted: Counted,
}

/// Counts a channel while it is open.
struct Counted(Arc<AtomicUsize>);

/// The right to use one channel of a link.
pub(super) struct Slot {
    pub(super) link: Arc<Link>,
    _permit: OwnedSemaphorePermit,
}

impl Links {
    pub(super) fn new(endpoints: Endpoints, settings: RabbitSettings, tracker: TaskTracker) -> Self {
        let state = watch::Sender::default();
        Self(Arc::new(Parts { endpoints, settings, tracker, state, limit: Mutex::default() }))
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

    /// Waits for the right to use a channel. A link that ends meanwhile is replaced.
    pub(super) async fn slot(&self) -> Result<Slot, PublishFault> {
        loop {
            let link = self.current().await?;
            let permit = Arc::clone(&link.permits).acquire_owned().await.expect("the semaphore is never closed");
            if link.is_usable() {
                return Ok(Slot { link, _permit: permit });
            }
        }
    }

    /// By itself, so that it does not end with whoever has no more time to wait for it.
    fn connect_behind(&self) {
        let begins = |state: &mut State| !std::mem::replace(&mut state.connecting, true);
        if self.0.state.send_if_modified(begins) {
            let links = self.clone();
            self.0.tracker.spawn(async move {
                let connected = links.connect().await;
                match &connected {
                    Ok(_) => links.0.endpoints.report_success(),
                    Err(error) => links.0.endpoints.report(&fault::text(error)),
                }
                let connected = connected.map_err(|error| away_for(&error));
                links.0.state.send_modify(|state| *state = State::after(connected));
            });
        }
    }

    /// Connects, and waits a little for a channel if RabbitMQ allows none now.
    async fn connect(&self) -> lapin::Result<Link> {
        for _ in 1..LIMIT_ATTEMPTS {
            match self.connect_once().await {
                Err(error) if fault::is_channel_limit(&error) => sleep(LIMIT_PAUSE).await,
                connected => return connected,
            }
        }
        self.connect_once().await
    }

    async fn connect_once(&self) -> lapin::Result<Link> {
        let Parts { endpoints, settings, .. } = &*self.0;
        let name = format!("{} publishing", settings.connection_name);
        let connection = endpoints.connect(&name, SHORT_FRAMES).await?;
        let (channel, _) = topology::ensure_on(open_channel(&connection).await?, &connection, settings).await?;
        let agreed = usize::from(connection.configuration().channel_max());
        let link = Link::over(connection, agreed.min(self.limit()));
        // Not closed, since RabbitMQ would count it for a moment longer.
        link.take_back(link.confirming(channel).await?);
        Ok(link)
    }

    fn limit(&self) -> usize {
        let limit = self.0.limit.lock().expect("nothing panics while holding it");
        limit.filter(|(since, _)| since.elapsed() < LIMIT_HOLDS_FOR).map_or(MAX_CHANNELS, |(_, limit)| limit)
    }

    /// A publish failed or hung: this link is not to be trusted any more.
    pub(super) fn give_up(&self, link: &Arc<Link>) {
        if link.is_blocked() {
            return;
        }
        let refused_at = link.refused_at.load(Ordering::Relaxed);
        if refused_at > 0 {
            // At least one less than before: RabbitMQ counts with some delay.
            let less = refused_at.min(self.limit().saturating_sub(1)).max(1);
            *self.0.limit.lock().expect("nothing panics while holding it") = Some((Instant::now(), less));
            link.refused_at.store(0, Ordering::Relaxed);
        }
        link.given_up.store(true, Ordering::Relaxed);
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
        let link = self.link.as_ref().filter(|link| link.is_usable());
        let failed = || self.failed.as_ref().filter(|(at, _)| at.elapsed() < RETRY_AFTER);
        link.map(|link| Ok(Arc::clone(link))).or_else(|| failed().map(|(_, fault)| Err(fault.clone())))
    }
}

impl Link {
    fn over(connection: Connection, channels: usize) -> Self {
        Self {
            connection,
            idle: Mutex::default(),
            open: Arc::default(),
            permits: Arc::new(Semaphore::new(channels.clamp(1, MAX_CHANNELS))),
            opening: tokio::sync::Mutex::default(),
            refused_at: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
        }
    }

    fn is_usable(&self) -> bool {
        self.connection.status().connected() && !self.given_up.load(Ordering::Relaxed)
    }

    /// A free channel, or a new one. The caller has a slot.
    pub(super) async fn lane(&self) -> lapin::Result<Lane> {
        if let Some(lane) = self.idle_lane() {
            return Ok(lane);
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(lane) = self.idle_lane() {
            return Ok(lane);
        }
        let open = self.open.load(Ordering::Relaxed);
        let lane = self.open_lane().await;
        if lane.as_ref().is_err_and(fault::is_channel_limit) {
            self.refused_at.store(open.max(1), Ordering::Relaxed);
        }
        lane
    }

    async fn open_lane(&self) -> lapin::Result<Lane> {
        self.confirming(open_channel(&self.connection).await?).await
    }

    async fn confirming(&self, channel: Channel) -> lapin::Result<Lane> {
        bounded(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Lane { channel, _counted: Counted(Arc::clone(&self.open)) })
    }

    fn idle_lane(&self) -> Option<Lane> {
        let mut idle = self.idle.lock().expect("nothing panics while holding it");
        std::iter::from_fn(|| idle.pop()).find(|lane| lane.channel.status().connected())
    }

    /// It is free again.
    pub(super) fn take_back(&self, lane: Lane) {
        self.idle.lock().expect("nothing panics while holding it").push(lane);
    }

    /// Declares everything again, or only checks it, as the settings say.
    pub(super) async fn declare_again(&self, settings: &RabbitSettings) -> lapin::Result<()> {
        let Lane { channel, _counted } = self.lane().await?;
        let (channel, _) = topology::ensure_on(channel, &self.connection, settings).await?;
        // It may be another one than before, which does not confirm.
        bounded(channel.close(200, "declared".into())).await
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

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn away(why: &str) -> PublishFault {
    PublishFault::Away(why.to_owned())
}

pub(super) fn away_for(error: &lapin::Error) -> PublishFault {
    away(&fault::text(error))
}
