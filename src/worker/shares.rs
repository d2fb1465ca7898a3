//! Who may hold how many of a worker's slots, so that an app whose logins hang, are throttled or get no token cannot
//! take those of the others. What is done in a slot is none of its business.
//!
//! As in the buffers of a network switch, an app may hold three times as many slots as stay free: one busy app has
//! three quarters of them, each of n such apps 3/(1+3n), and there is a free slot for a newcomer. What has no slot
//! waits in the room, which is shared by the same rule, and a slot that is freed goes to the apps that wait in turn. An
//! app whose part of the room is full stops the line for the moment that its next login needs to end; where its logins
//! end too slowly for that (`pace` says when), it is declined instead. `division` has the rules, and here are the
//! handles on it.

mod division;
mod pace;
mod quickness;
mod stopwatch;
mod turnaround;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use division::{Division, Entered, Success};

use crate::login::AppId;
use crate::meters::{Meters, WaitsForShare};
use crate::worker::unasked::Unasked;

/// How often a login that stops the line looks whether its app has become slow.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Successes of so long ago tell nothing of now.
const OF_LATE: Duration = Duration::from_secs(10);

/// A handle on a worker's slots; cheap to clone.
#[derive(Clone)]
pub(super) struct Shares(Arc<Inner>);

struct Inner {
    division: Mutex<Division>,
    /// Tells the one that stops the line that a slot or a place in the room may be free.
    freed: Notify,
    meters: Meters,
}

/// Where a login stands.
pub(super) enum Standing {
    /// It may ask now.
    Slot(Slot),
    /// It waits for a slot of its app's share.
    Room(Waiting),
    /// Nowhere, since it is not to be asked.
    Unasked(Unasked),
}

/// One slot, until it is dropped.
pub(super) struct Slot {
    shares: Shares,
    share: usize,
    since: Instant,
}

/// A place in the room, until it is dropped.
pub(super) struct Waiting {
    shares: Shares,
    share: usize,
    ticket: u64,
    granted: oneshot::Receiver<()>,
    has_slot: bool,
    _waits: WaitsForShare,
}

/// How long one had to wait for WeChat, from a moment on.
pub(super) struct WechatsTime {
    shares: Shares,
    share: usize,
    before: Duration,
}

/// A login that waits for WeChat's answer or for a token, until this is dropped.
pub(super) struct WaitsForWechat<'a> {
    slot: &'a Slot,
    since: Instant,
    succeeded: bool,
}

impl Shares {
    /// So many slots, and as many places in the room.
    pub(super) fn new(slots: usize, meters: Meters) -> Self {
        let many = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let division = Mutex::new(Division::new(many(slots), many(room(slots))));
        Self(Arc::new(Inner { division, freed: Notify::new(), meters }))
    }

    /// Gives the app's next login, whose time is up at `time_up`, its standing; waits while there is neither slot nor
    /// room for it and its app is not slow. An app that is `alone` has all slots and is never declined. To be called by
    /// one at a time: the line.
    pub(super) async fn enter(&self, appid: &AppId, alone: bool, time_up: Instant) -> Standing {
        loop {
            if let Some(standing) = self.try_enter(appid, alone, time_up) {
                return standing;
            }
            // Elapsed? Then it is time to look.
            let _ = timeout(LOOK_EVERY, self.0.freed.notified()).await;
        }
    }

    fn try_enter(&self, appid: &AppId, alone: bool, time_up: Instant) -> Option<Standing> {
        let now = Instant::now();
        let mut division = self.division();
        let share = division.share_of(appid);
        let shares = self.clone();
        Some(match division.enter(share, alone, time_up - now, now)? {
            Entered::Slot => Standing::Slot(Slot { shares, share, since: now }),
            Entered::Room { ticket, granted } => {
                let waits = self.0.meters.wait_for_share();
                Standing::Room(Waiting { shares, share, ticket, granted, has_slot: false, _waits: waits })
            }
            Entered::TooLate => Standing::Unasked(Unasked::TooLate),
            Entered::Declined => {
                self.0.meters.declined();
                Standing::Unasked(Unasked::Declined)
            }
        })
    }

    fn division(&self) -> MutexGuard<'_, Division> {
        self.0.division.lock().expect("no verb panics half-way")
    }
}

impl Slot {
    /// From here on it is WeChat that the login waits for, and not the store.
    pub(super) fn ask(&self) -> WaitsForWechat<'_> {
        let since = Instant::now();
        self.shares.division().begin_asking(self.share, since);
        WaitsForWechat { slot: self, since, succeeded: false }
    }

    /// Whether its login, which has so much time left, had better leave it to another.
    pub(super) fn is_too_late(&self, left: Duration) -> bool {
        self.shares.division().is_too_late(self.share, left, Instant::now())
    }
}

impl Waiting {
    /// What it will wait for from now on because of WeChat: the time in which most of its app's slots wait for that, and
    /// not for the store.
    pub(super) fn wechats_time(&self) -> WechatsTime {
        let before = self.shares.division().waited_for_wechat(self.share, Instant::now());
        WechatsTime { shares: self.shares.clone(), share: self.share, before }
    }

    /// Returns when the login's turn has come.
    pub(super) async fn turn(mut self) -> Slot {
        (&mut self.granted).await.expect("a ticket is kept until it is granted or this is dropped");
        self.has_slot = true;
        Slot { shares: self.shares.clone(), share: self.share, since: Instant::now() }
    }
}

impl WechatsTime {
    pub(super) fn so_far(&self) -> Duration {
        self.shares.division().waited_for_wechat(self.share, Instant::now()) - self.before
    }
}

impl WaitsForWechat<'_> {
    /// The login has its phone number, by its first asking: that is how quick WeChat can be.
    pub(super) fn succeeded_at_once(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shares.division().leave(self.share, Instant::now());
        self.shares.0.freed.notify_one();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.has_slot {
            self.shares.division().withdraw(self.share, self.ticket, Instant::now());
            self.shares.0.freed.notify_one();
        }
    }
}

impl Drop for WaitsForWechat<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let success = self.succeeded.then(|| Success { of_asking: now - self.since, of_slot: now - self.slot.since });
        self.slot.shares.division().end_asking(self.slot.share, success, now);
    }
}

/// How many logins may wait for so many slots. As many again: enough that the line does not stop before it is known
/// that an app is slow, and soon worked off.
pub(super) fn room(slots: usize) -> usize {
    slots
}

#[cfg(test)]
mod tests;
