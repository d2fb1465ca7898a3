//! What simulations have found, each in the shortest story that shows it.

use quicklogin::simulator::{Step, Then};

use crate::plan::{Happening, Kind, Plan, PlannedLogin, Setup};
use crate::world::run_plan;

/// The story of a simulation in which no rule was broken.
fn kept(plan: Plan) -> String {
    let tale = run_plan(plan);
    assert!(tale.broken.is_empty(), "{}", tale.tell());
    tale.tell()
}

fn tokens(step: Step, lasts: u64) -> (u64, Happening) {
    (0, Happening::Mood { step, of_tokens: true, lasts })
}

#[test]
fn a_lease_that_took_long_to_renew_is_renewed_again_before_the_code_is_asked() {
    let login = PlannedLogin { script: vec![Step::errcode(-1)], ..PlannedLogin::at(10) };
    let slow = Happening::Slow { verb: "extend", ms: 1700 };
    let story = kept(Plan { logins: vec![login], happenings: vec![(0, slow)], ..Plan::calm() });
    assert!(story.matches("extend login-0: true").count() >= 2, "{story}");
    assert!(story.contains("login 0 has its result: succeeded, attempts 2"), "{story}");
}

#[test]
fn a_login_that_waits_for_a_token_keeps_its_claim_and_casts_no_doubt() {
    let logins = vec![PlannedLogin { kind: Kind::Unknown, copies: vec![10, 20], ..PlannedLogin::at(10) }];
    let happenings = vec![tokens(Then::HangBefore.into(), 3500)];
    let plan = Plan::calm();
    let setup = Setup { workers: 2, patience_ms: 10_000, ..plan.setup };
    let story = kept(Plan { logins, happenings, setup, ..plan });
    assert!(story.contains("login 0 has its result: invalid_code, attempts 1"), "{story}");
}

#[test]
fn a_login_that_pauses_for_long_keeps_its_claim_and_casts_no_doubt() {
    let script = vec![Step::errcode(45011); 3];
    let logins = vec![PlannedLogin { copies: vec![10, 20], script, ..PlannedLogin::at(10) }];
    let plan = Plan::calm();
    let setup = Setup { workers: 2, patience_ms: 20_000, timeout_ms: 800, ..plan.setup };
    let story = kept(Plan { logins, setup, ..plan });
    assert!(story.contains("login 0 has its result: succeeded, attempts 4"), "{story}");
    assert_eq!(story.matches("claim login-0: Mine").count(), 1, "{story}");
}

#[test]
fn a_login_that_comes_while_a_probe_asks_for_a_token_takes_what_that_brings() {
    let happenings = vec![tokens(Step::errcode(40243), 1000)];
    let logins = [10, 5000, 5001, 5002].map(PlannedLogin::at).into();
    let story = kept(Plan { logins, happenings, ..Plan::calm() });
    assert!(story.contains("login 0 has its result: token_unavailable, attempts 0"), "{story}");
    for login in 1..=3 {
        assert!(story.contains(&format!("login {login} has its result: succeeded, attempts 1")), "{story}");
    }
}

#[test]
fn a_login_that_comes_while_a_probe_asks_for_its_app_waits_for_what_that_finds() {
    let not_served = |at| PlannedLogin { script: vec![Step::errcode(48001)], ..PlannedLogin::at(at) };
    let plan = Plan::calm();
    let setup = Setup { workers: 3, ..plan.setup };
    let story = kept(Plan { logins: (1..=12).map(|at| not_served(at * 60)).collect(), setup, ..plan });
    assert!(story.contains("not_allowed, attempts 0"), "an app was stopped: {story}");
}

#[test]
fn an_answer_that_comes_after_the_hard_stop_is_written_while_the_store_is_there() {
    let login = PlannedLogin { script: vec![Step::normal().late_ms(300)], ..PlannedLogin::at(10) };
    let stop = Happening::Stop { worker: 0, drain: 100 };
    let story = kept(Plan { logins: vec![login], happenings: vec![(100, stop)], ..Plan::calm() });
    assert!(story.contains("login 0 has its result: succeeded, attempts 1"), "{story}");
}

#[test]
fn an_answer_that_comes_while_a_worker_stands_still_is_heard_also_when_its_time_was_just_up() {
    let login = PlannedLogin { script: vec![Step::normal().late_ms(1500)], ..PlannedLogin::at(10) };
    // Whatever the n-th poll is: one of them is the one that notices that the time is up.
    for polls in 1..40 {
        let freeze = Happening::Freeze { worker: 0, polls, lasts: 5000 };
        kept(Plan { logins: vec![login.clone()], happenings: vec![(1, freeze)], ..Plan::calm() });
    }
}
