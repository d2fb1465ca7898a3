//! What must hold, whatever happens: the five rules of the design, and what follows from them, as somebody can tell who
//! sees both ends of each wire.
//!
//! What happens is held against them at once; which result a login may have is in `results`, and what is to be seen only
//! when everything is over, in `end`. Two things excuse what is otherwise forbidden. A worker that was frozen may do late what it was about to do: nobody can
//! keep it from that, so it may ask for a login that is another's by then. And one that was killed may take an answer
//! with it.

mod end;
mod results;

use std::sync::Arc;

pub(crate) use end::at_the_end;

use crate::ledger::{Login, Told};
use crate::machine::SimulatedMachine;
use crate::plan::{Plan, PlannedLogin};
use crate::world::World;

/// The product's own: a lease outlasts a call by this much.
const LEASE_MARGIN_MS: u64 = 1500;
/// Between a look at the clock and what is done then, where the store is as it should be.
const A_MOMENT_MS: u64 = 50;
/// What it takes to notice, to look again and to write.
const MOMENTS_MS: u64 = 5000;

/// When a login is to have its result at the latest: when its time is up by the slowest clock, and a lease that was left
/// behind, the call that was begun last, and all that is in front of it have had their time too.
pub(crate) fn due_at(plan: &Plan, planned: &PlannedLogin) -> u64 {
    let setup = &plan.setup;
    let counted_from = if planned.is_dated { planned.tapped_at } else { plan.heals_at.max(planned.copies[0]) };
    let code_ends = counted_from + setup.code_life_ms;
    let time_up = planned.deadline.map_or(code_ends, |deadline| deadline.min(code_ends)) + setup.skew_ms;
    let published_at = planned.copies.iter().copied().min().expect("there is one");
    let turn = setup.timeout_ms * 2 + LEASE_MARGIN_MS;
    let copies: usize = plan.logins.iter().map(|login| login.copies.len()).sum();
    let rounds = copies / (setup.slots * setup.workers);
    let queued = rounds as u64 * (turn + setup.patience_ms);
    time_up.max(plan.heals_at).max(published_at) + turn + queued + MOMENTS_MS
}

/// When its time is up, where that does not depend on when it is delivered.
pub(crate) fn time_up(plan: &Plan, planned: &PlannedLogin) -> Option<u64> {
    let code_ends = planned.is_dated.then(|| planned.tapped_at + plan.setup.code_life_ms);
    planned.deadline.into_iter().chain(code_ends).min()
}

/// A worker is about to ask for a login.
pub(crate) fn on_asking(world: &World, login: usize, machine: &Arc<SimulatedMachine>) {
    let now = world.now();
    let ledger = world.ledger();
    let lease = ledger.leases.get(&(machine.name, login)).copied();
    let asked = &ledger.logins[login];
    let mut broken = vec![];
    match lease {
        None => broken.push(format!("{} asks without a claim", machine.name)),
        Some(since) if now > since + LEASE_MARGIN_MS && !machine.was_frozen_since(since) => {
            broken.push(format!("{} asks under a lease of {} ms ago", machine.name, now - since));
        }
        Some(_) => {}
    }
    let others = ledger.askings_of(login).filter(|other| other.end.is_none());
    for other in others {
        let since = ledger.leases.get(&(other.machine.name, login)).copied().unwrap_or(other.began);
        let was_frozen =
            other.machine.was_frozen_since(since.min(other.began)) || machine.was_frozen_since(lease.unwrap_or(now));
        if !was_frozen {
            broken.push(format!("{} asks while {} asks", machine.name, other.machine.name));
        }
    }
    if let Some(told) = asked.result().filter(|_| !has_zombie(asked)) {
        broken.push(format!("{} asks after the result was there: {}", machine.name, told.outcome));
    }
    let is_late =
        asked.time_up.is_some_and(|time_up| now.saturating_add_signed(machine.skew_ms) > time_up + A_MOMENT_MS);
    if is_late && !asked.store_trouble && !has_zombie(asked) {
        broken.push(format!("{} asks though its time is up", machine.name));
    }
    drop(ledger);
    broken.into_iter().for_each(|what| world.complain(Some(login), what));
}

/// A worker has written a result.
pub(crate) fn on_writing(world: &World, login: usize, machine: &SimulatedMachine, verb: &str) {
    let others = {
        let ledger = world.ledger();
        let mine = ledger.leases.get(&(machine.name, login)).copied();
        let others = ledger.leases.iter().filter(|((name, of), since)| {
            *of == login && (verb == "record_unclaimed" || *name != machine.name && Some(**since) > mine)
        });
        others.map(|((name, _), _)| *name).collect::<Vec<_>>()
    };
    let succeeded = world.succeeded(login);
    for other in others.into_iter().filter(|_| !succeeded) {
        world.complain(Some(login), format!("{} writes a failure for what {other} has claimed", machine.name));
    }
}

/// A worker hears no more of an asking.
pub(crate) fn on_giving_up(world: &World, machine: &SimulatedMachine, asking: usize) {
    let asking_is_lost = {
        let (ledger, now) = (world.ledger(), world.now());
        // What comes in the millisecond in which the time is up may be too late.
        let was_there = ledger.askings[asking].answer_is_there_since.is_some_and(|since| since < now);
        was_there && machine.is_running() && machine.stopped_hard().is_none()
    };
    if asking_is_lost {
        world.complain(None, format!("{} gives up asking {asking}, whose answer is there", machine.name));
    }
}

/// The result of a login is another one than before.
pub(crate) fn on_result(world: &World, login: usize, before: Option<&Told>, after: Option<&Told>) {
    let mut broken = vec![];
    match (before, after) {
        (None, Some(_)) => {}
        (Some(before), Some(after)) if before.phone.is_none() && after.phone.is_some() => {}
        (before, after) => broken.push(format!("{before:?} became {after:?}")),
    }
    if let Some(after) = after {
        let ledger = world.ledger();
        broken.extend(results::wrong(world, &ledger, login, after));
    }
    broken.into_iter().for_each(|what| world.complain(Some(login), what));
}

/// Whether somebody who had the right to ask for it stood still at some time since then.
fn has_zombie(login: &Login) -> bool {
    let since = login.claimed_at.unwrap_or_default();
    login.claimed_by.iter().any(|machine| machine.was_frozen_since(since))
}

/// Whether a claim of this machine's may have run out. A hard stop gives claims back.
fn is_hurt(machine: &Arc<SimulatedMachine>) -> bool {
    machine.has_crashed() || machine.was_frozen_since(0)
}
