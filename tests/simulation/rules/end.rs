//! What is to be seen only when everything is over.

use std::sync::Arc;

use futures_util::FutureExt as _;
use quicklogin::queue::Queue;
use tokio_util::sync::CancellationToken;

use super::{A_MOMENT_MS, is_hurt};
use crate::ledger::{Asking, End, Ledger, Login};
use crate::machine::SimulatedMachine;
use crate::plan::{Kind, Plan};
use crate::world::World;

/// The product's own: what is done within this after a hard stop is done.
const LAST_WORDS_MS: u64 = 1000;

/// When everything is over.
pub(crate) fn at_the_end(world: &World) {
    let mut broken = vec![];
    let ledger = world.ledger();
    for (index, login) in ledger.logins.iter().enumerate() {
        broken.extend(missing(login).map(|what| (Some(index), what)));
        broken.extend(late(&world.plan, login).map(|what| (Some(index), what)));
        broken.extend(lost(&ledger, index).map(|what| (Some(index), what)));
        if (world.plan.is_calm() || login.is_probe) && login.kind == Kind::Good {
            broken.extend(unwell(&ledger, index).map(|what| (Some(index), what)));
        }
    }
    drop(ledger);
    broken.extend(left_over(world).map(|what| (None, what)));
    broken.into_iter().for_each(|(login, what)| world.complain(login, what));
}

/// Every login that was accepted has its result in time.
fn missing(login: &Login) -> Option<String> {
    if !login.is_accepted() {
        return None;
    }
    match login.results.first() {
        None => Some("it has no result".into()),
        Some(told) if told.at > login.due_at => {
            Some(format!("it has its result at {}, and should have had it at {}", told.at, login.due_at))
        }
        Some(_) => None,
    }
}

/// A login that somebody had in hand in time, and to whom nothing happened, is not kept waiting beyond its time.
fn late(plan: &Plan, login: &Login) -> Option<String> {
    let (time_up, told, claimed_at) = (login.time_up?, login.results.first()?, login.claimed_at?);
    let troubled = login.claim_trouble || login.store_trouble || login.claimed_by.iter().any(is_troubled);
    let due_at = time_up.max(claimed_at) + plan.setup.skew_ms + plan.setup.timeout_ms + 2 * A_MOMENT_MS;
    let is_late = !troubled && told.at > due_at;
    is_late.then(|| format!("it has its result at {}, and its time was up at {time_up}", told.at))
}

/// Whether something came between this machine and what it had in hand.
fn is_troubled(machine: &Arc<SimulatedMachine>) -> bool {
    is_hurt(machine) || machine.stopped_hard().is_some()
}

/// What WeChat has given, and a worker heard that had the time to write it, is there.
fn lost(ledger: &Ledger, index: usize) -> Option<String> {
    let login = &ledger.logins[index];
    let had_time = |asking: &&Asking| match (asking.machine.stopped_hard(), asking.ended) {
        _ if asking.machine.has_crashed() => false,
        (Some(_), _) if login.store_trouble || asking.machine.was_frozen_since(0) => false,
        (Some(stopped), Some(heard)) => heard + A_MOMENT_MS < stopped + LAST_WORDS_MS,
        _ => true,
    };
    let mut heard = ledger.askings_of(index).filter(|asking| asking.end == Some(End::Phone));
    let heard = heard.find(had_time).filter(|_| !login.succeeded())?;
    Some(format!("{} heard its phone number, and it is lost", heard.machine.name))
}

/// Where nothing goes wrong, a login succeeds; it is asked again only where its token was refused, having ended before.
fn unwell(ledger: &Ledger, index: usize) -> Option<String> {
    let ends: Vec<_> = ledger.askings_of(index).map(|asking| asking.end).collect();
    let (last, earlier) = ends.split_last().map_or((None, &[][..]), |(last, earlier)| (*last, earlier));
    let well = last == Some(End::Phone) && earlier.iter().all(|end| *end == Some(End::Refused));
    let told = ledger.logins[index].result();
    let counted = told.is_some_and(|told| told.outcome == "succeeded" && told.attempts as usize == ends.len());
    (!well || !counted).then(|| format!("all was well, and its askings ended so: {ends:?}; it was told {told:?}"))
}

/// The queue is empty, and what is nobody's is a dead letter.
fn left_over(world: &World) -> Option<String> {
    let Queue::Memory(queue) = &world.queue else { unreachable!("it is in memory") };
    let dead = queue.dead().len();
    if dead != world.plan.garbage.len() {
        return Some(format!("{dead} dead letters, of {} that are nobody's", world.plan.garbage.len()));
    }
    let mut consumer = world.queue.consume(1, CancellationToken::new());
    let left = consumer.next().now_or_never().flatten();
    left.map(|delivery| format!("the queue still has {}", String::from_utf8_lossy(&delivery.body)))
}
