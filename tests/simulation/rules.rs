//! What must hold, whatever happens: the five rules of the design, and what follows from them, as somebody can tell who
//! sees both ends of each wire.
//!
//! Two things excuse what is otherwise forbidden. A worker that was frozen may do late what it was about to do: nobody can
//! keep it from that, so it may ask for a login that is another's by then. And one that was killed may take an answer
//! with it.

use std::sync::Arc;

use quicklogin::queue::Queue;
use quicklogin::simulator::Then;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Asking, End, Ledger, Login, Told};
use crate::machine::SimulatedMachine;
use crate::plan::{Kind, Plan, PlannedLogin};
use crate::world::World;

/// The product's own: a lease outlasts a call by this much.
const LEASE_MARGIN_MS: u64 = 1500;
/// The product's own: what is done within this after a hard stop is done.
const LAST_WORDS_MS: u64 = 1000;
/// WeChat's own: a code lives so long from the tap.
const CODE_LIVES_MS: u64 = 300_000;
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
    let (now, timeout) = (world.now(), world.plan.setup.timeout_ms);
    let ledger = world.ledger();
    let lease = ledger.leases.get(&(machine.name, login)).copied();
    let asked = &ledger.logins[login];
    let someone_was_frozen = || asked.claimed_by.iter().any(|machine| machine.was_frozen_since(0));
    let mut broken = vec![];
    match lease {
        None => broken.push(format!("{} asks without a claim", machine.name)),
        Some(since) if now + timeout > since + timeout + LEASE_MARGIN_MS && !machine.was_frozen_since(since) => {
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
    if let Some(told) = asked.result().filter(|_| !someone_was_frozen()) {
        broken.push(format!("{} asks after the result was there: {}", machine.name, told.outcome));
    }
    let is_late =
        asked.time_up.is_some_and(|time_up| now.saturating_add_signed(machine.skew_ms) > time_up + A_MOMENT_MS);
    if is_late && !asked.store_trouble && !someone_was_frozen() {
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
        let ledger = world.ledger();
        ledger.askings[asking].answer_is_there && machine.is_running() && machine.stopped_hard().is_none()
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
        broken.extend(wrong(world, &ledger, login, after));
    }
    broken.into_iter().for_each(|what| world.complain(Some(login), what));
}

/// Why a login cannot have this result.
fn wrong(world: &World, ledger: &Ledger, index: usize, told: &Told) -> Option<String> {
    let login = &ledger.logins[index];
    let scripted = |is_it: fn(&Then) -> bool| world.plan.scripts(is_it);
    let was_spent = ledger.askings_of(index).any(|asking| asking.spent);
    let was_missed = ledger.askings_of(index).any(|asking| asking.was_missed());
    let was_asked = ledger.askings_of(index).next().is_some();
    let a_zombie = || login.claimed_by.iter().any(|machine| machine.was_frozen_since(0));
    let wrong = |why: &str| Some(format!("{}, {why}", told.outcome));
    match (told.outcome, login.kind) {
        ("succeeded", Kind::Good) if told.phone.as_ref() == Some(&login.phone) && was_spent => None,
        ("succeeded", _) => wrong("which is not what WeChat has said"),
        ("invalid_request", Kind::Malformed) | ("unknown_app", Kind::UnknownApp) => None,
        (_, Kind::Malformed | Kind::UnknownApp) => wrong("of a request that is none"),
        ("in_doubt", _) if may_doubt(ledger, index) => None,
        ("in_doubt", _) => wrong("though every answer was heard"),
        ("invalid_code", Kind::Stale | Kind::Unknown) if !was_missed => None,
        ("invalid_code", Kind::Good) if !was_missed && world.now() >= login.tapped_at + CODE_LIVES_MS => None,
        ("invalid_code", _) => wrong("though an answer was missed, or the code was good"),
        ("expired", _) if !was_asked || a_zombie() => None,
        ("expired", _) => wrong("though it was asked for"),
        ("unavailable" | "throttled", _) if !was_spent || a_zombie() => None,
        ("unavailable" | "throttled", _) => wrong("though the code is spent"),
        ("bad_answer", _) if scripted(|then| matches!(then, Then::Http { status: 200, .. })) => None,
        ("not_allowed", _) if scripted(|then| matches!(then, Then::Errcode { errcode: 48001, .. })) => None,
        ("token_unavailable", _) if scripted(|then| matches!(then, Then::Errcode { .. } | Then::Http { .. })) => None,
        ("token_unavailable", _) if !world.plan.is_calm() => None,
        _ => wrong("and there was no reason for that"),
    }
}

/// Whether an answer may have been missed, as far as workers can tell.
fn may_doubt(ledger: &Ledger, index: usize) -> bool {
    let login = &ledger.logins[index];
    let was_missed = ledger.askings_of(index).any(|asking| asking.was_missed());
    // A claim whose answer was lost is made again; only somebody else can take it for one that has run out.
    let was_dropped = login.claimed_by.iter().any(|machine| machine.stopped_hard().is_some());
    let was_overtaken = login.claim_trouble && (login.copies > 1 || was_dropped);
    was_missed || was_overtaken || login.store_trouble || login.claimed_by.iter().any(is_hurt)
}

/// Whether a claim of this machine's may have run out. A hard stop gives claims back.
fn is_hurt(machine: &Arc<SimulatedMachine>) -> bool {
    machine.has_crashed() || machine.was_frozen_since(0)
}

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
    use futures_util::FutureExt as _;
    let Queue::Memory(queue) = &world.queue else { unreachable!("it is in memory") };
    let dead = queue.dead().len();
    if dead != world.plan.garbage.len() {
        return Some(format!("{dead} dead letters, of {} that are nobody's", world.plan.garbage.len()));
    }
    let mut consumer = world.queue.consume(1, CancellationToken::new());
    let left = consumer.next().now_or_never().flatten();
    left.map(|delivery| format!("the queue still has {}", String::from_utf8_lossy(&delivery.body)))
}
