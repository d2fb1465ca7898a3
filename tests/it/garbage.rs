//! Whatever is published, the worker answers it or puts it aside, and goes on.

use lapin::BasicProperties;
use quicklogin::login::Outcome;

use crate::support::amqp::{Outcome as Published, Publisher};
use crate::support::fleet::{Ground, Plan, eventually, id};
use crate::support::rabbit::Broker;

async fn garbage(publisher: &Publisher, body: &[u8]) {
    let published = publisher.publish("quicklogin", "login", body, BasicProperties::default()).await;
    assert_eq!(published.expect("it is connected"), Published::Taken, "{} bytes", body.len());
}

#[tokio::test]
async fn garbage_without_an_id_goes_to_the_dead_letters_with_its_reason() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let megabyte = vec![b'x'; 1 << 20];
    let deep = [b"[".repeat(500_000), b"]".repeat(500_000)].concat();
    let hidden = [br#"{"code":"c","x":"#.to_vec(), b"[".repeat(400_000), b"]".repeat(400_000), b"}".to_vec()].concat();
    let pieces: Vec<&[u8]> = vec![
        b"",
        b" ",
        b"\0\0\0\0",
        b"\xff\xfe\xfd",
        b"not json",
        b"null",
        b"7",
        b"[]",
        b"{",
        br#"{"request_id":""}"#,
        br#"{"request_id":7,"code":"c"}"#,
        br#"{"request_id":"no spaces","code":"c"}"#,
        br#"{"request_id":{"deep":[1]},"code":"c"}"#,
        br#"{"code":"c"}"#,
        &megabyte,
        &deep,
        &hidden,
    ];
    for piece in &pieces {
        garbage(&publisher, piece).await;
    }
    let dead = || Broker::shared().queue_depths(fleet.vhost())["quicklogin.dead"].ready;
    eventually("all are dead letters", async || dead() == pieces.len() as u64).await;
    let mut found = Vec::new();
    while let Some((body, headers)) = publisher.get("quicklogin.dead").await {
        let reason = headers.inner().get("x-quicklogin-reason").and_then(|value| value.as_long_string());
        assert!(reason.is_some_and(|reason| !reason.as_bytes().is_empty()), "a reason in a header");
        found.push(body);
    }
    let mut expected: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    expected.sort();
    found.sort();
    assert!(found == expected, "the payloads are as they came");
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded", "the worker goes on");
    assert_eq!(Broker::shared().queue_depths(fleet.vhost())["quicklogin.logins"].ready, 0);
}

#[tokio::test]
async fn garbage_with_an_id_is_answered() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let long = format!(r#"{{"request_id":"long","code":"c","x":"{}"}}"#, "y".repeat(1 << 20));
    let deep = format!(r#"{{"request_id":"deep","code":{}1{}}}"#, "[".repeat(4_000), "]".repeat(4_000));
    let pieces: Vec<(&str, &str, &str)> = vec![
        ("none", r#"{"request_id":"none"}"#, "code is missing"),
        ("number", r#"{"request_id":"number","code":1}"#, "code is not a string"),
        ("empty", r#"{"request_id":"empty","code":""}"#, "code must be 1 to 512 visible ASCII characters"),
        ("chinese", r#"{"request_id":"chinese","code":"码"}"#, "code must be 1 to 512 visible ASCII characters"),
        ("app", r#"{"request_id":"app","code":"c","appid":[]}"#, "appid is not a string"),
        (
            "seconds",
            r#"{"request_id":"seconds","code":"c","issued_at":1637744274}"#,
            "issued_at is not in milliseconds since 1970",
        ),
        ("long", &long, "the body is longer than 16384 bytes"),
        ("deep", &deep, "code is not a string"),
    ];
    for (_, body, _) in &pieces {
        garbage(&publisher, body.as_bytes()).await;
    }
    for (name, _, problem) in &pieces {
        let result = fleet.result(&id(name)).await;
        let Outcome::Failed(failure) = result.outcome else { panic!("{name} fails") };
        assert_eq!((failure.reason.as_str(), failure.detail.as_deref()), ("invalid_request", Some(*problem)), "{name}");
    }
    assert_eq!(fleet.asked_for_phones(), 0);
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded", "the worker goes on");
}

#[tokio::test]
async fn what_other_languages_publish_is_served() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let code = || fleet.tap().code;
    let in_ms = quicklogin::clock::now_ms() + 60_000;
    let pieces: Vec<(&str, Vec<u8>)> = vec![
        ("bom", format!("\u{feff}{{\"request_id\":\"bom\",\"code\":\"{}\"}}", code()).into()),
        ("blank", format!("\u{feff} \r\n{{\"request_id\":\"blank\",\"code\":\"{}\"}}\n\0", code()).into()),
        (
            "gbk",
            [
                b"{\"nickname\":\"\xd0\xa1\",".to_vec(),
                format!("\"request_id\":\"gbk\",\"code\":\"{}\"}}", code()).into(),
            ]
            .concat(),
        ),
        (
            "float",
            format!(r#"{{"request_id":"float","code":"{}","issued_at":{in_ms}.0,"deadline":"{in_ms}.0"}}"#, code())
                .into(),
        ),
        (
            "empty",
            format!(
                r#"{{"request_id":"empty","code":"{}","appid":"","openid":"","issued_at":0,"deadline":""}}"#,
                code()
            )
            .into(),
        ),
    ];
    for (_, body) in &pieces {
        garbage(&publisher, body).await;
    }
    for (name, _) in &pieces {
        let result = fleet.result(&id(name)).await;
        assert_eq!(result.outcome.as_str(), "succeeded", "{name}: {result:?}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_dead_letter_that_says_why() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let object = r#"{"request_id":"r","code":"c"}"#;
    let utf16: Vec<u8> = format!("\u{feff}{object}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let pieces: [(&[u8], &str); 4] = [
        (&utf16, "UTF-16"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "compressed"),
        (br#""{\"request_id\":\"r\",\"code\":\"c\"}""#, "encoded twice"),
        (br#"{"payload":{"request_id":"r","code":"c"}}"#, "envelope"),
    ];
    for (body, expected) in pieces {
        garbage(&publisher, body).await;
        let mut dead = None;
        eventually("it is a dead letter", async || {
            dead = publisher.get("quicklogin.dead").await;
            dead.is_some()
        })
        .await;
        let (_, headers) = dead.expect("it was found");
        let reason = headers.inner().get("x-quicklogin-reason").and_then(|value| value.as_long_string());
        let reason = reason.map(|reason| reason.to_string()).unwrap_or_default();
        assert!(reason.contains(expected), "{reason}");
    }
    let broken = br#"{"request_id":"broken","code":"c","note":"a"#;
    garbage(&publisher, broken).await;
    let Outcome::Failed(failure) = fleet.result(&id("broken")).await.outcome else { panic!("it fails") };
    assert_eq!(
        (failure.reason.as_str(), failure.detail.as_deref()),
        ("invalid_request", Some("the body is not valid JSON"))
    );
}
