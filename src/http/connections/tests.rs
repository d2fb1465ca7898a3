//! Who is admitted, who makes room, and who is refused.

use std::net::Ipv4Addr;
use std::task::Poll;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Places for as many as are admitted without another having to close.
async fn fill(all: &Connections, address: IpAddr) -> Vec<Connection> {
    let mut places = vec![];
    while let Admission::Admitted(connection) = all.try_admit(Client::at(address)) {
        connection.starts_call();
        places.push(connection);
    }
    places
}

#[tokio::test]
async fn one_address_has_three_quarters_and_others_find_a_place() {
    let all = Connections::up_to(100);
    let here = fill(&all, HERE).await;
    assert_eq!(here.len(), 75);
    assert!(all.admit(HERE).await.is_none(), "all its connections have a call in hand");
    let there = fill(&all, THERE).await;
    assert_eq!(there.len(), 18);
    let mut elsewhere = vec![];
    for n in 3..=9 {
        elsewhere.push(all.admit(Ipv4Addr::new(127, 0, 0, n).into()).await.expect("its first place"));
    }
    assert_eq!(all.open().total, 100);
    drop(here);
    assert_eq!(fill(&all, HERE).await.len(), 56);
}

#[tokio::test]
async fn the_one_that_has_waited_longest_makes_room() {
    let all = Connections::up_to(4);
    let first = all.admit(HERE).await.expect("a place");
    let second = all.admit(HERE).await.expect("a place");
    let third = all.admit(HERE).await.expect("a place");
    first.starts_call();
    first.ends_call();
    let closing = second.closing.close.clone();
    let closes = tokio::spawn(async move {
        second.closes().await;
        drop(second);
    });
    let fourth = all.admit(HERE).await.expect("the place of the second");
    closes.await.expect("no panic");
    assert!(closing.is_cancelled() && !first.closing.close.is_cancelled() && !third.closing.close.is_cancelled());
    assert_eq!(all.open().total, 3);
    drop((first, third, fourth));
    let open = all.open();
    assert!(open.total == 0 && open.closing == 0 && open.clients.is_empty() && open.waiting.is_empty());
}

#[tokio::test]
async fn a_connection_with_a_call_in_hand_stays() {
    let all = Connections::up_to(4);
    let busy: Vec<_> = fill(&all, HERE).await;
    assert_eq!(busy.len(), 3);
    assert!(all.admit(HERE).await.is_none());
    assert!(busy.iter().all(|connection| !connection.closing.close.is_cancelled()));
    busy[1].ends_call();
    assert!(matches!(all.try_admit(Client::at(HERE)), Admission::AfterAnother));
    assert!(busy[1].closing.close.is_cancelled());
}

#[tokio::test]
async fn a_new_connection_waits_while_too_many_are_closing() {
    let all = Connections::up_to(100);
    let mut idle = vec![];
    for _ in 0..75 + MAX_CLOSING {
        idle.push(all.admit(HERE).await.expect("a place"));
    }
    let counts = |open: MutexGuard<'_, Open>| (open.total, open.closing);
    assert_eq!(counts(all.open()), (75, MAX_CLOSING));
    let mut next = std::pin::pin!(all.admit(HERE));
    let is_ready = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_ready())).await;
    assert!(!is_ready);
    // The one that has to make room for it.
    drop(idle.swap_remove(MAX_CLOSING));
    assert!(next.await.is_some());
}

#[test]
fn a_network_of_ipv6_is_one_client_and_a_mapped_address_is_the_ipv4_one() {
    let at = |text: &str| Client::at(text.parse().expect("an address"));
    assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
    assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
    assert_eq!(at("::ffff:127.0.0.1"), at("127.0.0.1"));
}
