//! A storm: random faults, from a seed, over a fleet of processes under load; then every login is accounted for.
//!
//! `QUICKLOGIN_STORM_SECONDS` and `QUICKLOGIN_STORM_SEED` say how long, and which; `scripts/storm` sets them.

mod account;
mod accounting;
mod by_http;
mod by_queue;
mod causes;
mod faults;
mod ledger;
mod load;
mod login;
mod looking;
mod processes;
mod schedule;
mod searching;

use std::sync::Arc;
use std::time::Duration;

use quicklogin::clock;
use tokio_util::sync::CancellationToken;

use self::account::Account;
use self::accounting::Accounting;
use self::ledger::Ledger;
use self::load::Load;
use self::processes::Processes;
use self::schedule::Weather;

/// In the plain suite.
const SECONDS: u64 = 15;
const SECONDS_OF_GUSTS: u64 = 12;
/// A lease is shorter than the longest pause, and a call on a busy machine is still not too long.
const CALL_MS: u64 = 3000;
/// Results stay so much longer than the storm.
const ACCOUNTING: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_in_a_storm() {
    let length = Duration::from_secs(number("QUICKLOGIN_STORM_SECONDS").unwrap_or(SECONDS));
    let account = storm(Weather::Storm, length, CALL_MS).await;
    assert_eq!((account.lost, account.dead, account.queued), (0, 0, 0));
    assert!(account.succeeded * 10 > account.confirmed * 8, "a storm, and not the end of the world");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_kills_and_cuts_nothing_is_in_doubt() {
    let account = storm(Weather::Gusts, Duration::from_secs(SECONDS_OF_GUSTS), CALL_MS).await;
    assert_eq!((account.lost, account.dead, account.queued), (0, 0, 0));
    assert_eq!(account.in_doubt, 0);
}

/// Lets a storm pass over a fleet in which WeChat may take `call_ms` to answer, and accounts for every login.
async fn storm(weather: Weather, length: Duration, call_ms: u64) -> Account {
    let seed = number("QUICKLOGIN_STORM_SEED").unwrap_or_else(|| clock::now_ms() % 1_000_000);
    let plan = schedule::plan(seed, length, weather);
    eprintln!("{weather:?}, seed {seed}, {} s, {} faults", length.as_secs(), plan.len());
    let processes = tokio::task::spawn_blocking(move || Processes::start(length + ACCOUNTING, call_ms));
    let (processes, ledger) = (processes.await.expect("it starts"), Arc::new(Ledger::default()));
    let load = Load::on(&processes, &ledger);
    let stop = CancellationToken::new();
    let looking = tokio::spawn(looking::look_on(Arc::clone(&processes), Arc::clone(&ledger), stop.clone()));
    let ((), happened) = tokio::join!(load.run(seed, length), faults::rage(&processes, &plan));
    let accounting = Accounting { processes, ledger, load, happened };
    let account = accounting.close().await;
    stop.cancel();
    looking.await.expect("looking does not panic");
    eprintln!("{weather:?}, seed {seed}, {} s:\n{account}", length.as_secs());
    assert!(accounting.ledger.open().complaints.is_empty(), "seed {seed}: {}", accounting.complaints());
    account
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, and must be a number")))
}
