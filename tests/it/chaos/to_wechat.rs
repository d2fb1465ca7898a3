//! The network between a fleet and WeChat. What was asked and not answered may be spent: only that may be in doubt.

use std::collections::BTreeMap;
use std::time::Duration;

use quicklogin::worker::Limits;
use tokio::time::sleep;

use crate::support::fleet::{Fleet, Ground, Plan, eventually};
use crate::support::logins::{Account, Load, until_one_is_asked_again};
use crate::support::road::{Road, Way};

async fn fleet() -> Fleet {
    plan().start().await
}

/// One that soon gives up what trickles.
async fn hasty_fleet() -> Fleet {
    Plan { call_timeout: Duration::from_millis(1500), ..plan() }.start().await
}

fn plan() -> Plan {
    let plan = Plan::on(Ground::RabbitAndRedis);
    let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
    Plan { workers: 2, by_roads: true, limits, ..plan }
}

fn road(fleet: &Fleet) -> &Road {
    &fleet.roads.wechat[0]
}

/// What was lost on the way is in doubt, and everything else has succeeded, asked once.
fn only_the_unheard_are_in_doubt(account: &Account) {
    let count = |outcome: &str| account.by_outcome.get(outcome).copied().unwrap_or(0);
    let (succeeded, in_doubt) = (count("succeeded"), count("in_doubt"));
    assert_eq!(succeeded + in_doubt, account.logins, "{account:?}");
    assert!(in_doubt > 0 && succeeded > 0, "some calls were under way, and not all: {account:?}");
    assert!(account.asked_again >= in_doubt, "each of them was tried again: {account:?}");
}

#[tokio::test]
async fn a_network_to_wechat_that_is_slow_and_cuts_everything_into_pieces_loses_nothing() {
    let plan = Plan { workers: 2, by_roads: true, ..Plan::on(Ground::RabbitAndRedis) };
    let fleet = Plan { call_timeout: Duration::from_secs(8), ..plan }.start().await;
    let road = road(&fleet);
    road.slice(7);
    road.delay(Duration::from_millis(60), Duration::from_millis(60));
    road.narrow(50_000);
    Load::default().through(&fleet, async || {}).await.all_succeeded();
}

#[tokio::test]
async fn a_wechat_that_refuses_connections_for_a_while_is_asked_once_for_each_code() {
    let fleet = fleet().await;
    let road = road(&fleet);
    // Those on their way are answered, and from then on nobody gets through.
    let trouble = async || {
        road.refuse().await;
        sleep(Duration::from_millis(1500)).await;
        road.open().await;
    };
    Load::default().through(&fleet, trouble).await.all_succeeded();
}

#[tokio::test]
async fn answers_of_wechats_that_are_cut_or_reset_on_the_way_are_in_doubt_and_no_others() {
    for ends in [Road::cut as fn(&Road), Road::reset] {
        let fleet = fleet().await;
        let round = Duration::from_millis(300);
        let trouble = async || until_one_is_asked_again(&fleet, round, || ends(road(&fleet))).await;
        let account = Load::default().through(&fleet, trouble).await;
        only_the_unheard_are_in_doubt(&account);
    }
}

#[tokio::test]
async fn answers_of_wechats_that_are_swallowed_are_in_doubt_and_calls_that_are_swallowed_are_asked_again() {
    for way in [Way::There, Way::Back] {
        let fleet = fleet().await;
        let road = road(&fleet);
        let trouble = async || {
            road.swallow(way);
            eventually("something is lost", async || road.lost() > 0).await;
            sleep(Duration::from_millis(700)).await;
            road.mend();
        };
        let account = Load::default().through(&fleet, trouble).await;
        match way {
            // WeChat never heard of them; those whose answer was under way had it.
            Way::There => assert_eq!(account.by_outcome, BTreeMap::from([("succeeded".into(), account.logins)])),
            Way::Back => only_the_unheard_are_in_doubt(&account),
        }
    }
}

#[tokio::test]
async fn a_wechat_whose_answers_trickle_longer_than_a_call_may_last_is_in_doubt_and_others_succeed() {
    let fleet = hasty_fleet().await;
    let road = road(&fleet);
    let trouble = async || {
        let asked = fleet.asked_for_phones();
        eventually("one more is being asked", async || fleet.asked_for_phones() > asked).await;
        // An answer has some hundred bytes.
        road.narrow(100);
        sleep(Duration::from_millis(1000)).await;
        road.mend();
    };
    let load = Load { over: Duration::from_secs(4), wechat_takes_ms: 500, ..Load::default() };
    let account = load.through(&fleet, trouble).await;
    only_the_unheard_are_in_doubt(&account);
}
