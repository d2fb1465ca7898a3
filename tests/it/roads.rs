//! The roads that tests let things happen on: what is said to happen on them does.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::support::road::{Road, Way};

const SOON: Duration = Duration::from_secs(60);
/// So long nothing comes: long enough to come, had it been let.
const NOTHING: Duration = Duration::from_millis(200);

/// A road to somebody who says back whatever he hears.
async fn road_to_an_echo() -> Road {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                // Whoever is reset has nothing more to say.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Road::to(address).await
}

async fn enter(road: &Road) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", road.port())).await.expect("it is open");
    stream.set_nodelay(true).expect("a socket's option");
    stream
}

/// What comes back of it, and after how long.
async fn echo(stream: &mut TcpStream, what: &[u8]) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    stream.write_all(what).await.expect("it is connected");
    let mut back = vec![0; what.len()];
    let read = timeout(SOON, stream.read_exact(&mut back)).await.expect("in time");
    read.expect("it is connected");
    (back, began.elapsed())
}

async fn is_answered(stream: &mut TcpStream) -> bool {
    is_answered_within(SOON, stream).await
}

async fn stays_silent(stream: &mut TcpStream) -> bool {
    !is_answered_within(NOTHING, stream).await
}

async fn is_answered_within(limit: Duration, stream: &mut TcpStream) -> bool {
    stream.write_all(b"hello").await.expect("the near end is there");
    timeout(limit, stream.read_exact(&mut [0; 5])).await.is_ok_and(|read| read.is_ok())
}

/// How a connection ends, which it does soon.
async fn end(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
    timeout(SOON, stream.read(&mut [0; 9])).await.expect("in time").map_err(|error| error.kind())
}

#[tokio::test]
async fn a_delay_is_each_way_and_keeps_the_order() {
    let road = road_to_an_echo().await;
    let (mut stream, quick) = (enter(&road).await, Duration::from_millis(1000));
    assert!(echo(&mut stream, b"quick").await.1 < quick);
    road.delay(Duration::from_millis(600), Duration::from_millis(100));
    let what: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let (back, took) = echo(&mut stream, &what).await;
    assert!(back == what, "in order and complete");
    assert!(took >= Duration::from_millis(1200), "{took:?}");
    road.mend();
    assert!(echo(&mut stream, b"quick").await.1 < quick);
}

#[tokio::test]
async fn a_narrow_road_takes_its_time() {
    let road = road_to_an_echo().await;
    let mut stream = enter(&road).await;
    road.narrow(10_000);
    let (_, took) = echo(&mut stream, &[7; 3000]).await;
    assert!(took >= Duration::from_millis(300), "{took:?}");
}

#[tokio::test]
async fn slices_arrive_one_by_one() {
    let road = road_to_an_echo().await;
    let mut stream = enter(&road).await;
    road.slice(3);
    stream.write_all(&[7; 300]).await.expect("it is connected");
    let (mut reads, mut total) = (0, 0);
    while total < 300 {
        total += timeout(SOON, stream.read(&mut [0; 300])).await.expect("in time").expect("connected");
        reads += 1;
    }
    assert!(reads > 20, "{reads} pieces");
}

#[tokio::test]
async fn what_is_stalled_arrives_later_and_what_is_swallowed_never() {
    let road = road_to_an_echo().await;
    let (mut stalled, mut idle) = (enter(&road).await, enter(&road).await);
    road.stall();
    assert!(stays_silent(&mut stalled).await);
    road.mend();
    timeout(SOON, stalled.read_exact(&mut [0; 5])).await.expect("in time").expect("nothing was lost");
    for way in [Way::There, Way::Back] {
        let mut swallowed = enter(&road).await;
        assert!(is_answered(&mut swallowed).await);
        road.swallow(way);
        assert!(stays_silent(&mut swallowed).await, "{way:?}");
        road.mend();
        assert!(stays_silent(&mut swallowed).await, "{way:?}: it is dead and does not know it");
    }
    assert!(is_answered(&mut idle).await, "it has lost nothing");
}

#[tokio::test]
async fn connections_are_cut_in_order_and_reset_at_once_and_the_next_is_taken() {
    let road = road_to_an_echo().await;
    for (ends, expected) in [(Road::cut as fn(&Road), Ok(0)), (Road::reset, Err(ErrorKind::ConnectionReset))] {
        let mut stream = enter(&road).await;
        assert!(is_answered(&mut stream).await);
        ends(&road);
        assert_eq!(end(&mut stream).await, expected);
    }
    assert!(is_answered(&mut enter(&road).await).await);
    assert_eq!(road.taken(), 3);
}

#[tokio::test]
async fn a_road_that_refuses_keeps_who_is_there_and_one_that_is_shut_does_not() {
    let road = road_to_an_echo().await;
    let mut stream = enter(&road).await;
    assert!(is_answered(&mut stream).await);
    road.refuse().await;
    let refused = TcpStream::connect(("127.0.0.1", road.port())).await;
    assert_eq!(refused.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    assert!(is_answered(&mut stream).await);
    road.shut().await;
    assert_eq!(end(&mut stream).await, Ok(0));
    road.open().await;
    assert!(is_answered(&mut enter(&road).await).await);
}

#[tokio::test]
async fn whoever_hangs_up_is_told_of_on_the_other_side() {
    let road = road_to_an_echo().await;
    let mut stream = enter(&road).await;
    road.delay(Duration::from_millis(50), Duration::ZERO);
    stream.write_all(b"last words").await.expect("it is connected");
    stream.shutdown().await.expect("it is connected");
    let mut heard = Vec::new();
    timeout(SOON, stream.read_to_end(&mut heard)).await.expect("in time").expect("in order");
    assert_eq!(heard, b"last words");
}
