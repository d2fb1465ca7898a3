//! The rules by which slots and room are divided among apps. Pure: time is a parameter, and nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::login::AppId;
use crate::worker::shares::pace::{self, Pace};
use crate::worker::shares::quickness::Quickness;
use crate::worker::shares::stopwatch::Stopwatch;
use crate::worker::shares::turnaround::Turnaround;

/// An app may hold so many times what stays free.
const TIMES_FREE: u32 = 3;

/// Who holds which of the slots, and who waits for one.
pub(super) struct Division {
    slots_free: u32,
    room_free: u32,
    shares: Vec<Share>,
    by_app: HashMap<AppId, usize>,
    /// The shares with logins that wait, each once; the next slot is offered to the first.
    turns: VecDeque<usize>,
    last_ticket: u64,
}

/// What one app has.
#[derive(Default)]
struct Share {
    held: u32,
    /// Of those, how many wait for WeChat.
    asking: u32,
    /// For how long most of its slots have waited for that.
    waited_for_wechat: Stopwatch,
    waiting: VecDeque<Ticket>,
    pace: Pace,
    quickness: Quickness,
    turnaround: Turnaround,
}

struct Ticket {
    number: u64,
    granted: oneshot::Sender<()>,
}

/// What a login was given.
pub(super) enum Entered {
    Slot,
    Room { ticket: u64, granted: oneshot::Receiver<()> },
    Declined,
    TooLate,
}

/// How long it took, of a login that had its phone number by its first asking.
#[derive(Clone, Copy)]
pub(super) struct Success {
    /// Since it began to wait for WeChat.
    pub(super) of_asking: Duration,
    /// Since it had its slot.
    pub(super) of_slot: Duration,
}

impl Division {
    pub(super) fn new(slots: u32, room: u32) -> Self {
        Self {
            slots_free: slots,
            room_free: room,
            shares: vec![],
            by_app: HashMap::new(),
            turns: VecDeque::new(),
            last_ticket: 0,
        }
    }

    /// The app's share. There are never more of them than apps were ever configured.
    pub(super) fn share_of(&mut self, appid: &AppId) -> usize {
        if let Some(share) = self.by_app.get(appid) {
            return *share;
        }
        self.shares.push(Share::default());
        self.by_app.insert(appid.clone(), self.shares.len() - 1);
        self.shares.len() - 1
    }

    /// Of a login that has so much time `left`. None: there is nothing for it now, and its app is not slow.
    pub(super) fn enter(&mut self, share: usize, alone: bool, left: Duration, now: Instant) -> Option<Entered> {
        let Share { held, waiting, turnaround, .. } = &mut self.shares[share];
        let fits_in = if alone { self.slots_free > 0 } else { fits(*held, self.slots_free) };
        let has_slot = fits_in && waiting.is_empty();
        if !has_slot {
            turnaround.find_crowded(now);
        }
        if left.is_zero() || turnaround.is_too_late(left, now) {
            return Some(Entered::TooLate);
        }
        if has_slot {
            self.take_slot(share, now);
            return Some(Entered::Slot);
        }
        // An app that is alone harms nobody: its logins wait where they are, in the queue.
        if alone {
            return None;
        }
        let has_room = fits(self.shares[share].waiting.len() as u32, self.room_free);
        match self.is_slow(share, now) {
            _ if has_room => Some(self.take_room(share)),
            true => Some(Entered::Declined),
            false => None,
        }
    }

    /// A login gives its slot back.
    pub(super) fn leave(&mut self, share: usize, now: Instant) {
        // Only a slow app is held against the others: they may be thousands, to be looked at whenever a login ends.
        let quickest = || self.quickest_but(share, |other| other.usual(now));
        let bound = pace::slow_from(self.shares[share].pace.is_slow().then(quickest).flatten());
        let left = &mut self.shares[share];
        left.pace.end(left.held, bound, now);
        left.held -= 1;
        left.note_wait(now);
        self.slots_free += 1;
        self.grant(now);
    }

    /// A login waits no more; if it was granted a slot meanwhile, it gives it back.
    pub(super) fn withdraw(&mut self, share: usize, ticket: u64, now: Instant) {
        let waiting = &mut self.shares[share].waiting;
        match waiting.iter().position(|waits| waits.number == ticket) {
            Some(place) => {
                waiting.remove(place);
                self.room_free += 1;
                if waiting.is_empty() {
                    self.turns.retain(|waits| *waits != share);
                }
            }
            None => self.leave(share, now),
        }
    }

    pub(super) fn begin_asking(&mut self, share: usize, now: Instant) {
        let share = &mut self.shares[share];
        share.quickness.begin(share.asking, now);
        share.asking += 1;
        share.note_wait(now);
    }

    pub(super) fn end_asking(&mut self, share: usize, success: Option<Success>, now: Instant) {
        let share = &mut self.shares[share];
        share.asking -= 1;
        share.note_wait(now);
        share.quickness.end(share.asking, success.as_ref().map(|success| success.of_asking), now);
        if let Some(Success { of_slot, .. }) = success {
            share.turnaround.succeed(of_slot, now);
        }
    }

    /// For how long most of the app's slots have waited for WeChat, in all.
    pub(super) fn waited_for_wechat(&self, share: usize, now: Instant) -> Duration {
        self.shares[share].waited_for_wechat.total(now)
    }

    /// Of a login that holds a slot: whether it has too little time left to keep it.
    pub(super) fn is_too_late(&self, share: usize, left: Duration, now: Instant) -> bool {
        self.shares[share].turnaround.is_too_late(left, now)
    }

    fn take_slot(&mut self, share: usize, now: Instant) {
        let taken = &mut self.shares[share];
        taken.pace.begin(taken.held, now);
        taken.held += 1;
        taken.note_wait(now);
        self.slots_free -= 1;
    }

    fn take_room(&mut self, share: usize) -> Entered {
        self.room_free -= 1;
        self.last_ticket += 1;
        let ((granted_sender, granted), number) = (oneshot::channel(), self.last_ticket);
        let waiting = &mut self.shares[share].waiting;
        if waiting.is_empty() {
            self.turns.push_back(share);
        }
        waiting.push_back(Ticket { number, granted: granted_sender });
        Entered::Room { ticket: number, granted }
    }

    /// Gives free slots to those who wait: one to each app in turn, until none may have more.
    fn grant(&mut self, now: Instant) {
        let mut passed_over = 0;
        while passed_over < self.turns.len() {
            let share = self.turns.pop_front().expect("it is longer than what was passed over");
            passed_over += 1;
            if fits(self.shares[share].held, self.slots_free) {
                let ticket = self.shares[share].waiting.pop_front().expect("only those that wait have a turn");
                self.room_free += 1;
                self.take_slot(share, now);
                // It has just withdrawn? Then it finds its ticket gone, and gives the slot back.
                let _ = ticket.granted.send(());
                passed_over = 0;
            }
            if !self.shares[share].waiting.is_empty() {
                self.turns.push_back(share);
            }
        }
    }

    fn is_slow(&mut self, share: usize, now: Instant) -> bool {
        let (held, waits_for_wechat) = (self.shares[share].held, self.shares[share].waits_for_wechat());
        if let Some(take) = self.shares[share].pace.suspect(held, waits_for_wechat, now) {
            let bound = pace::slow_from(self.quickest_but(share, |other| other.at_this_moment(take, now)));
            self.shares[share].pace.look(take, bound, now);
        }
        self.shares[share].pace.is_slow()
    }

    /// How quickly logins succeed at the app where they do so best, other than this one.
    fn quickest_but(&self, share: usize, of: impl Fn(&Quickness) -> Option<Duration>) -> Option<Duration> {
        let others = self.shares.iter().enumerate().filter(|(other, _)| *other != share);
        others.filter_map(|(_, other)| of(&other.quickness)).min()
    }
}

impl Share {
    /// Do most that hold slots wait for the store, or for somebody else's claim? Then it is not WeChat that is slow.
    fn waits_for_wechat(&self) -> bool {
        self.asking * 2 >= self.held
    }

    /// To be told whenever that may have changed.
    fn note_wait(&mut self, now: Instant) {
        let waits = self.waits_for_wechat();
        self.waited_for_wechat.set(waits, now);
    }
}

/// Whether somebody who holds so much may have one more of what is free. The first one always.
fn fits(held: u32, free: u32) -> bool {
    free > 0 && (held == 0 || held < TIMES_FREE.saturating_mul(free - 1))
}

#[cfg(test)]
mod tests;
