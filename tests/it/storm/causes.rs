//! What may have become of a login, and of a worker that was told to stop, over the faults that have happened: nothing
//! that is not good may be without a cause. Pure.

use crate::storm::faults::{Drained, Happened};
use crate::storm::login::{Login, Seen};
use crate::storm::schedule::{Fault, Mood, Victim};

/// What was on its way when a fault ended may be hurt a moment later.
const AFTERMATH_MS: u64 = 1500;
/// From the end of a fault to a worker's next connection: the longest pause, a dial, and queues to be declared.
const CONNECTED_AGAIN_MS: u64 = 4000;
/// A worker that wakes up sends a call that it was about to send.
const AWAKE_MS: u64 = 1000;

/// What is wrong with a login's result, if anything is.
pub(super) fn wrong_outcome(login: &Login, seen: &Seen, happened: &[Happened]) -> Option<String> {
    let befell = |faults: &dyn Fn(Fault) -> bool| {
        let touched = |one: &&Happened| one.touches(login.issued_at, seen.finished_at, AFTERMATH_MS);
        happened.iter().filter(touched).any(|one| faults(one.planned.fault))
    };
    let has_cause = match &*seen.outcome {
        "succeeded" if seen.phone.as_deref() != login.phone.as_deref() => {
            return Some("it has another's phone number".into());
        }
        "invalid_request" if login.phone.is_none() => true,
        outcome if login.phone.is_none() => return Some(format!("it cannot be served, and is {outcome}")),
        "succeeded" => true,
        "expired" => seen.finished_at >= login.deadline,
        "in_doubt" => befell(&hurts_a_call) || (login.asked.asked > login.asked.answered && befell(&loses_answers)),
        "unavailable" => befell(&|fault| loses_answers(fault) || is_busy(fault)),
        "throttled" => befell(&|fault| fault == Fault::Mood(Mood::Throttling)),
        "token_unavailable" if seen.advice.as_deref() == Some("try_later") => {
            befell(&|fault| fault == Fault::Mood(Mood::NoTokens))
        }
        _ => false,
    };
    (!has_cause).then(|| format!("it is {} without a cause", seen.outcome))
}

/// Whether WeChat was asked for a login after its success could be read. A worker that wakes up may do that: it has made
/// sure that nobody else asks, and then stood still.
pub(super) fn asked_after_success(login: &Login, happened: &[Happened]) -> bool {
    let Some(seen) = login.result.as_ref().filter(|seen| seen.succeeded()) else { return false };
    let asked_at = login.asked.last_asked_at;
    let woke_up = |one: &Happened| {
        matches!(one.planned.fault, Fault::WorkerFrozen(_)) && (one.ended..one.ended + AWAKE_MS).contains(&asked_at)
    };
    asked_at > seen.seen_at && !happened.iter().any(woke_up)
}

/// What is wrong with the end of a worker that was told to stop between these times. With 3 it says that RabbitMQ or
/// Redis was away, and that must be so.
pub(super) fn wrong_end(drained: &Drained, from: u64, to: u64, happened: &[Happened]) -> Option<String> {
    let away = |one: &Happened| {
        matches!(one.planned.fault.victim(), Victim::Broker | Victim::Store)
            && one.touches(from, to, CONNECTED_AGAIN_MS)
    };
    let is_right = match drained.code {
        Some(0) => true,
        Some(3) => happened.iter().any(away),
        _ => false,
    };
    let Drained { code, last_lines } = drained;
    (!is_right).then(|| format!("a process that was told to stop ended with {code:?}: {last_lines}"))
}

/// Whether a call to WeChat may end without its caller.
fn hurts_a_call(fault: Fault) -> bool {
    match fault {
        // A drain that is not done in time is a hard stop.
        Fault::WorkerKilled(_) | Fault::WorkerDrained(_) | Fault::WorkerFrozen(_) => true,
        // Later than the longest call, on a busy machine.
        Fault::Mood(Mood::Late) => true,
        _ => false,
    }
}

fn loses_answers(fault: Fault) -> bool {
    let Fault::Mood(mood) = fault else { return false };
    matches!(mood, Mood::CutBefore | Mood::CutAfter | Mood::HangBefore | Mood::HangAfter)
}

fn is_busy(fault: Fault) -> bool {
    matches!(fault, Fault::Mood(Mood::Busy | Mood::BadGateway | Mood::Late))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quicklogin::simulator::CodeAsked;

    use super::*;
    use crate::storm::schedule::Planned;

    fn happened(fault: Fault, began: u64, ended: u64) -> Happened {
        Happened { planned: Planned { at: Duration::ZERO, fault, lasts: Duration::ZERO }, began, ended, drained: None }
    }

    /// Handed in at 10 s, with its result at 12 s.
    fn login(asked: u32, answered: u32) -> Login {
        Login {
            code: "c".into(),
            phone: Some("13800000000".into()),
            issued_at: 10_000,
            deadline: 40_000,
            accepted: true,
            result: None,
            asked: CodeAsked { asked, answered, ..CodeAsked::default() },
        }
    }

    fn failed(reason: &str) -> Seen {
        let json = format!(r#"{{"status":"failed","error":{{"reason":"{reason}"}},"finished_at":12000}}"#);
        Seen::read(&json, 12_100)
    }

    #[test]
    fn what_is_not_good_has_a_cause_of_its_own_kind_and_time() {
        let rows = [
            ("in_doubt", Fault::WorkerKilled(0), 11_000, true),
            ("in_doubt", Fault::WorkerKilled(0), 8_000, false),
            ("in_doubt", Fault::WorkerKilled(0), 12_500, false),
            ("in_doubt", Fault::StoreKilled, 11_000, false),
            ("in_doubt", Fault::BrokerKilled, 11_000, false),
            ("in_doubt", Fault::Mood(Mood::Busy), 11_000, false),
            ("unavailable", Fault::Mood(Mood::Busy), 11_000, true),
            ("unavailable", Fault::WorkerKilled(0), 11_000, false),
            ("throttled", Fault::Mood(Mood::Throttling), 11_000, true),
            ("throttled", Fault::Mood(Mood::Busy), 11_000, false),
            ("token_unavailable", Fault::Mood(Mood::NoTokens), 11_000, false),
            ("expired", Fault::BrokerKilled, 11_000, false),
            ("invalid_code", Fault::WorkerKilled(0), 11_000, false),
            ("invalid_request", Fault::WorkerKilled(0), 11_000, false),
        ];
        for (outcome, fault, at, is_right) in rows {
            let wrong = wrong_outcome(&login(2, 2), &failed(outcome), &[happened(fault, at, at + 100)]);
            assert_eq!(wrong.is_none(), is_right, "{outcome}, {fault:?} at {at}");
        }
        let cut = [happened(Fault::Mood(Mood::CutAfter), 11_000, 11_500)];
        assert!(wrong_outcome(&login(2, 1), &failed("in_doubt"), &cut).is_none());
        assert!(wrong_outcome(&login(2, 2), &failed("in_doubt"), &cut).is_some(), "each of its answers arrived");
    }

    #[test]
    fn a_success_has_the_right_number() {
        let seen = |phone: &str| {
            let json =
                format!(r#"{{"status":"succeeded","phone_info":{{"phoneNumber":"{phone}"}},"finished_at":12000}}"#);
            Seen::read(&json, 12_100)
        };
        assert!(wrong_outcome(&login(1, 1), &seen("13800000000"), &[]).is_none());
        assert!(wrong_outcome(&login(1, 1), &seen("13800000001"), &[]).is_some());
    }

    #[test]
    fn who_was_asked_for_after_a_success_was_so_by_a_worker_that_woke_up() {
        let mut login = login(2, 2);
        login.result = Some(Seen::read(r#"{"status":"succeeded"}"#, 12_100));
        login.asked.last_asked_at = 12_100;
        assert!(!asked_after_success(&login, &[]));
        login.asked.last_asked_at = 12_101;
        assert!(asked_after_success(&login, &[]));
        assert!(asked_after_success(&login, &[happened(Fault::WorkerFrozen(1), 10_000, 11_000)]));
        assert!(!asked_after_success(&login, &[happened(Fault::WorkerFrozen(1), 10_000, 12_050)]));
    }

    #[test]
    fn a_worker_says_that_redis_was_away_only_where_it_was() {
        let ended = |code| Drained { code, last_lines: String::new() };
        let away = [happened(Fault::StoreKilled, 5_000, 6_000)];
        assert!(wrong_end(&ended(Some(0)), 7_000, 8_000, &[]).is_none());
        assert!(wrong_end(&ended(Some(3)), 7_000, 8_000, &away).is_none());
        assert!(wrong_end(&ended(Some(3)), 11_000, 12_000, &away).is_some());
        assert!(wrong_end(&ended(Some(1)), 7_000, 8_000, &away).is_some());
        assert!(wrong_end(&ended(None), 7_000, 8_000, &away).is_some());
    }
}
