//! Which result a login may have.

use quicklogin::simulator::Then;

use super::{has_zombie, is_hurt};
use crate::ledger::{Ledger, Told};
use crate::plan::Kind;
use crate::world::World;

/// WeChat's own: a code lives so long from the tap.
const CODE_LIVES_MS: u64 = 300_000;

/// Why a login cannot have this result.
pub(super) fn wrong(world: &World, ledger: &Ledger, index: usize, told: &Told) -> Option<String> {
    let login = &ledger.logins[index];
    let scripted = |is_it: fn(&Then) -> bool| world.plan.scripts(is_it);
    let was_spent = ledger.askings_of(index).any(|asking| asking.spent);
    let was_missed = ledger.askings_of(index).any(|asking| asking.was_missed());
    let was_asked = ledger.askings_of(index).next().is_some();
    let a_zombie = || has_zombie(login);
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
        ("unavailable" | "throttled", _) if !was_spent && !was_missed || a_zombie() => None,
        ("unavailable" | "throttled", _) => wrong("though an answer was missed"),
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
