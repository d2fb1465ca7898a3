//! Properties and headers of any kind: of a message that RabbitMQ takes, only the body matters.

use std::collections::BTreeSet;
use std::sync::Arc;

use quicklogin::clock;
use quicklogin::login::RequestId;
use quicklogin::queue::{Delivery, Queue, Settlement};
use quicklogin::worker::OutboxKey;
use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::fleet::{APP, Ground, Plan, SECRET, SOON, app_id, eventually, rabbit_settings, request};
use crate::support::line::Line;
use crate::support::process::folder;
use crate::support::program::{Servers, Site, app};
use crate::support::rabbit::{Broker, Vhost};
use crate::support::raw::{Properties, RawPublisher, header, headers, long, odd};

const LOGINS: &str = "quicklogin.logins";
const RESULTS: &str = "quicklogin.results";
const DEAD: &str = "quicklogin.dead";
const WIDEST: usize = 80;

fn depths(vhost: &Vhost, queue: &str) -> (u64, u64) {
    let depth = Broker::shared().queue_depths(vhost)[queue];
    (depth.ready, depth.unacked)
}

#[tokio::test]
async fn a_login_with_odd_properties_is_served_and_so_are_its_neighbours() {
    let mut fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let mut raw = RawPublisher::connect(fleet.vhost()).await;
    let mut logins = vec![];
    for properties in odd() {
        let (neighbour, login) = (request(&fleet.tap().code), request(&fleet.tap().code));
        fleet.publish(&neighbour).await;
        raw.publish("quicklogin", "login", &properties, &login.encode()).await;
        logins.extend([("a neighbour", neighbour), (properties.what, login)]);
    }
    fleet.add_worker();
    for (what, login) in &logins {
        let result = fleet.result(&login.request_id).await;
        assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 1), "{what}");
    }
    eventually("nothing is left", async || depths(fleet.vhost(), LOGINS) == (0, 0)).await;
    assert_eq!((depths(fleet.vhost(), DEAD), fleet.asked_for_phones()), ((0, 0), logins.len() as u64));
}

#[tokio::test]
async fn odd_properties_end_no_session_and_blame_no_neighbour() {
    let vhost = Broker::shared().vhost();
    let queue = Queue::rabbit(rabbit_settings(&vhost, 1000), &TaskTracker::new()).expect("good settings");
    queue.check().await.expect("it is there");
    let mut raw = RawPublisher::connect(&vhost).await;
    let plain = headers("no header", b"");
    let mut bodies = vec![];
    for properties in odd().iter().flat_map(|odd| [&plain, odd]) {
        bodies.push(format!("{} {}", bodies.len(), properties.what).into_bytes());
        raw.publish("quicklogin", "login", properties, bodies.last().expect("one")).await;
    }
    let mut consumer = queue.consume(100, CancellationToken::new());
    // The second time with RabbitMQ's own headers, which make the longest longer than any frame may be.
    for redelivered in [false, true] {
        let mut deliveries: Vec<Delivery> = vec![];
        for body in &bodies {
            let delivery = timeout(SOON, consumer.next()).await.expect("in time").expect("a delivery");
            let what = String::from_utf8_lossy(body);
            assert_eq!((&delivery.body, delivery.redelivered), (body, redelivered), "{what}");
            deliveries.push(delivery);
        }
        for delivery in deliveries {
            delivery.settle(if redelivered { Settlement::Ack } else { Settlement::Requeue }).await;
        }
    }
    eventually("all is acked", async || depths(&vhost, LOGINS) == (0, 0)).await;
}

#[tokio::test]
async fn a_result_that_was_handed_over_with_odd_properties_is_written() {
    const OWNER: &str = "a worker that stopped";
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let mut raw = RawPublisher::connect(fleet.vhost()).await;
    let key = OutboxKey::of_app_secret(&app_id(APP), &SECRET.into());
    let mut written = 0;
    for properties in odd() {
        let id = RequestId::generate();
        let result = json!({
            "request_id": id, "status": "succeeded", "appid": APP, "attempts": 1, "finished_at": clock::now_ms(),
            "phone_info": {"phoneNumber": "13800000000"},
        })
        .to_string();
        let mac = key.sign(&id, OWNER, result.as_bytes());
        let proof = [("x-quicklogin-owner", OWNER), ("x-quicklogin-mac", &mac)];
        let proof = proof.map(|(name, value)| header(name.as_bytes(), b'S', &long(value.as_bytes()))).concat();
        // The longest headers leave no room for more.
        let Some(properties) = properties.with_headers(&proof) else { continue };
        raw.publish("", RESULTS, &properties, result.as_bytes()).await;
        assert_eq!(fleet.result(&id).await.outcome.as_str(), "succeeded", "{}", properties.what);
        written += 1;
    }
    assert_eq!(written, odd().len() - 1);
    eventually("nothing is left", async || depths(fleet.vhost(), RESULTS) == (0, 0)).await;
}

/// Odd dead letters, each a login request that can be replayed; their ids.
async fn bury(servers: &Servers) -> Vec<RequestId> {
    let mut raw = RawPublisher::connect(&servers.vhost).await;
    let mut ids = vec![];
    for properties in odd() {
        let id = RequestId::generate();
        let body = json!({"request_id": id, "appid": APP, "code": "0a1b2c3d4e5f", "issued_at": clock::now_ms()});
        raw.publish("", DEAD, &properties, body.to_string().as_bytes()).await;
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn odd_dead_letters_are_listed_shown_replayed_and_dropped() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    drop(site.worker());
    let ids = bury(&servers).await;
    let listed = site.run(&["dead", "list"]);
    assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""), "{}", listed.stdout);
    for id in &ids {
        assert!(listed.stdout.contains(id.as_str()), "{}", listed.stdout);
    }
    let json = site.run(&["dead", "list", "--json"]);
    let rows: Vec<Value> = json.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let listed: Vec<&str> = rows.iter().filter_map(|row| row["request_id"].as_str()).collect();
    assert_eq!(listed, ids.iter().map(RequestId::as_str).collect::<Vec<_>>());
    for (id, properties) in ids.iter().zip(odd()) {
        let shown = site.run(&["dead", "show", id.as_str()]);
        assert_eq!(shown.code, Some(0), "{}: {}", properties.what, shown.stderr);
        assert!(shown.stdout.chars().all(|c| c == '\n' || !c.is_control()), "{}", properties.what);
        let too_wide = shown.stdout.lines().find(|line| line.chars().count() > WIDEST);
        assert_eq!(too_wide, None, "{}", properties.what);
    }
    let all = ids.len();
    let replayed = site.run(&["dead", "replay", "--all"]);
    assert_eq!(replayed.stderr.trim(), format!("replayed {all}, refused 0, left 0"), "{}", replayed.stdout);
    let _simulator = site.simulator();
    let _worker = site.worker();
    for (id, properties) in ids.iter().zip(odd()) {
        let result = || servers.redis.get(&format!("quicklogin:result:{{{id}}}"));
        eventually(properties.what, async || result().is_some()).await;
    }
    bury(&servers).await;
    let dropped = site.run(&["dead", "drop", "--all"]);
    assert_eq!(dropped.stderr.trim(), format!("dropped {all}, left 0"), "{}", dropped.stdout);
}

#[tokio::test]
async fn what_a_dead_letter_says_of_itself_is_no_command_to_a_terminal_and_fits_it() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    drop(site.worker());
    let mut raw = RawPublisher::connect(&servers.vhost).await;
    let text = |name: &str, text: &str| header(name.as_bytes(), b'S', &crate::support::raw::long(text.as_bytes()));
    let number = |name: &str| header(name.as_bytes(), b'l', &i64::MAX.to_be_bytes());
    let entries = [
        text("x-quicklogin-reason", &format!("\u{1b}[2J\u{202e}tired {}", "码 no good ".repeat(50))),
        text("x-quicklogin-worker", "host\u{1b}]0;title\u{7}\u{9b}2J"),
        text("\u{1b}[2J", "\r\n\u{8}"),
        number("x-quicklogin-dead-at"),
        number("x-quicklogin-deliveries"),
    ];
    raw.publish("", DEAD, &headers("odd", &entries.concat()), b"\x1b[2J not json").await;
    raw.publish(
        "",
        DEAD,
        &headers("long", b""),
        json!({"request_id": "r".repeat(64), "code": "c"}).to_string().as_bytes(),
    )
    .await;
    for arguments in [["list", "--limit", "5"], ["show", "--position", "1"], ["replay", "--all", "--dry-run"]] {
        let ended = site.run(&[&["dead"][..], &arguments].concat());
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        for line in [ended.stdout, ended.stderr].iter().flat_map(|said| said.lines()) {
            let width: usize = line.chars().map(|c| if c < '\u{1100}' { 1 } else { 2 }).sum();
            assert!(width <= WIDEST, "{width} columns: {line}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    }
}

/// A TLS server in front of RabbitMQ, and the file of its certificate.
async fn behind_tls(vhost: &Vhost, folder: &std::path::Path) -> (u16, std::path::PathBuf) {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a good name");
    let certificate = folder.join("broker.crt");
    std::fs::write(&certificate, made.cert.pem()).expect("the folder is ours to write");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key is the certificate's");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (port, broker) = (listener.local_addr().expect("it listens").port(), vhost.port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut inside = acceptor.accept(stream).await.ok()?;
                let mut outside = TcpStream::connect(("127.0.0.1", broker)).await.ok()?;
                copy_bidirectional(&mut inside, &mut outside).await.ok()
            });
        }
    });
    (port, certificate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_properties_come_through_tls() {
    let line = Line::start("").await;
    let folder = folder("tls-");
    let (port, certificate) = behind_tls(&line.servers.vhost, folder.path()).await;
    let url = line.servers.vhost.url_at(port).replace("amqp://", "amqps://");
    let trusts = certificate.to_str().expect("cargo's folder has a plain name");
    let worker = line.worker_with(&[("QUICKLOGIN__RABBITMQ__URL", &url), ("SSL_CERT_FILE", trusts)]);
    let mut raw = RawPublisher::connect(&line.servers.vhost).await;
    for properties in odd() {
        let tap = line.tap([]);
        raw.publish("quicklogin", "login", &properties, &tap.request.encode()).await;
        assert_eq!(line.outcome(&tap).await, ("succeeded".to_owned(), 1), "{}", properties.what);
    }
    assert!(!worker.said().contains("connecting again"), "{}", worker.said());
}

/// Counts that a publisher has copied from another message, or made up.
fn copied() -> Vec<Properties> {
    let count = |number: i64| header(b"x-delivery-count", b'l', &number.to_be_bytes());
    vec![
        headers("5", &count(5)),
        headers("500", &count(500)),
        headers("the largest", &count(i64::MAX)),
        headers("below zero", &count(-1)),
        headers("text", &header(b"x-delivery-count", b'S', &crate::support::raw::long(b"500"))),
        headers("two", &[count(500), count(500)].concat()),
        headers("with the other counts", &[&count(500)[..], &header(b"x-acquired-count", b'l', &[0x7F; 8])].concat()),
    ]
}

#[tokio::test]
async fn a_copied_delivery_count_is_not_believed() {
    let mut fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let mut raw = RawPublisher::connect(fleet.vhost()).await;
    let publisher = crate::support::amqp::Publisher::connect(fleet.vhost().url()).await;
    let mut logins = vec![];
    // The first ones come back once from another consumer: RabbitMQ has counted that.
    for is_redelivered in [true, false] {
        for properties in copied() {
            let login = request(&fleet.tap().code);
            raw.publish("quicklogin", "login", &properties, &login.encode()).await;
            logins.push((properties.what, login));
        }
        if is_redelivered {
            publisher.take_and_give_back(LOGINS, logins.len() as u64).await;
            eventually("all are back", async || depths(fleet.vhost(), LOGINS) == (logins.len() as u64, 0)).await;
        }
    }
    fleet.add_worker();
    for (what, login) in &logins {
        let result = fleet.result(&login.request_id).await;
        assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 1), "{what}");
    }
}

#[tokio::test]
async fn copied_counts_make_no_message_suspect() {
    let vhost = Broker::shared().vhost();
    let queue = Queue::rabbit(rabbit_settings(&vhost, 1000), &TaskTracker::new()).expect("good settings");
    queue.check().await.expect("it is there");
    let mut raw = RawPublisher::connect(&vhost).await;
    for properties in copied() {
        raw.publish("quicklogin", "login", &properties, properties.what.as_bytes()).await;
    }
    let mut consumer = queue.consume(100, CancellationToken::new());
    let mut all: BTreeSet<Vec<u8>> = copied().iter().map(|properties| properties.what.as_bytes().to_vec()).collect();
    let mut in_hand = vec![];
    // A suspect would be handed out only when the one before it is settled.
    while !all.is_empty() {
        let delivery = timeout(SOON, consumer.next()).await.expect("in time").expect("a delivery");
        assert!(all.remove(&delivery.body) && !delivery.redelivered);
        in_hand.push(delivery);
    }
}
