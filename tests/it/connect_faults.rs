//! RabbitMQ and Redis that cannot be used: one line with the cause and what to do, again at long intervals, and no secret.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::fleet::eventually;
use crate::support::line::Line;
use crate::support::process::{Process, free_port};
use crate::support::rabbit::Broker;
use crate::support::road::Road;

/// The lines at WARN or ERROR, without those about how this Redis is set up.
fn complaints(worker: &Process) -> Vec<String> {
    let lines = worker.said();
    let loud =
        |line: &&str| (line.contains(" WARN ") || line.contains("ERROR ")) && !line.contains("quicklogin::oversight");
    lines.lines().filter(loud).map(str::to_owned).collect()
}

/// A worker that dials RabbitMQ by this URL, in which `PORT` stands for a road to the broker: after many attempts it has
/// complained once, in these words. It is stopped then.
async fn complains_once(line: &Line, url: &str, expected: [&str; 2]) {
    let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, Broker::shared_port()));
    let road = Road::to(broker).await;
    let url = url.replace("PORT", &road.port().to_string());
    let variables = [("QUICKLOGIN__RABBITMQ__URL", url.as_str()), ("QUICKLOGIN__LOG__FILTER", "trace,lapin=trace")];
    let worker = line.site.start_with(&["worker"], &variables, "no RabbitMQ; connecting again");
    eventually("it tries again and again", async || road.taken() >= 12).await;
    // A busy machine may take longer than an attempt lasts; and a broker that hangs up may reset what was sent to it.
    let passing = |line: &String| line.contains("IO error: timed out") || line.contains("reset by peer");
    let said: Vec<_> = complaints(&worker).into_iter().filter(|line| !passing(line)).collect();
    let [one] = said.as_slice() else { panic!("{url}: one line, not {said:#?}") };
    assert!(expected.iter().all(|expected| one.contains(expected)), "{url}: {one}");
    assert!(!worker.said().contains("lapin::") && !worker.said().contains("canary"), "{url}: {}", worker.said());
}

#[tokio::test]
async fn a_rabbitmq_that_refuses_is_one_line_with_a_hint() {
    let line = Line::start("").await;
    let vhost = line.servers.vhost.name().to_owned();
    Broker::shared().eval(&format!(
        r#"rabbit_auth_backend_internal:add_user(<<"canary-bare">>, <<"canary">>, <<"test">>),
           rabbit_auth_backend_internal:add_user(<<"canary-few">>, <<"canary">>, <<"test">>),
           rabbit_auth_backend_internal:set_permissions(<<"canary-few">>, <<"{vhost}">>, <<"^$">>, <<".*">>, <<".*">>, <<"test">>)"#
    ));
    complains_once(&line, &format!("amqp://guest:canary@127.0.0.1:PORT/{vhost}"), ["refused", "user and password"])
        .await;
    complains_once(&line, "amqp://guest:guest@127.0.0.1:PORT/nowhere", ["nowhere", "list_vhosts"]).await;
    let url = format!("amqp://canary-bare:canary@127.0.0.1:PORT/{vhost}");
    complains_once(&line, &url, ["access to vhost", "list_permissions"]).await;
    let url = format!("amqp://canary-few:canary@127.0.0.1:PORT/{vhost}");
    complains_once(&line, &url, ["ACCESS_REFUSED", "set_permissions"]).await;
    complains_once(&line, "amqps://guest:canary@127.0.0.1:PORT", ["corrupt message", "does not speak TLS"]).await;
}

#[tokio::test]
async fn the_end_of_a_fault_is_a_line_too() {
    let line = Line::start("").await;
    let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, Broker::shared_port()));
    let road = Road::to(broker).await;
    road.refuse().await;
    let url = line.servers.vhost.url_at(road.port());
    let variables = [("QUICKLOGIN__RABBITMQ__URL", url.as_str())];
    let worker = line.site.start_with(&["worker"], &variables, "no RabbitMQ; connecting again");
    assert!(worker.said().contains("check that the server runs"), "{}", worker.said());
    road.open().await;
    eventually("it says that it is over", async || worker.said().contains("RabbitMQ is connected again")).await;
    assert_eq!(complaints(&worker).len(), 1, "{}", worker.said());
}

#[tokio::test]
async fn a_redis_that_cannot_be_used_is_one_line_with_a_hint() {
    let line = Line::start("").await;
    let redis = SocketAddr::from((Ipv4Addr::LOCALHOST, line.servers.redis.port()));
    // What answers a caller without TLS with a TLS alert, and hangs up.
    let tls = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let tls_port = tls.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = tls.accept().await {
            let _ = caller.write_all(b"\x15\x03\x03\x00\x02\x02\x46").await;
        }
    });
    let rows = [
        ("rediss://127.0.0.1:PORT".to_owned(), "expects TLS"),
        ("redis://nobody:canary@127.0.0.1:PORT".to_owned(), "user and password"),
        (format!("redis://127.0.0.1:{}", free_port()), "check that the server runs"),
        ("redis://nowhere.invalid".to_owned(), "check the host name"),
        (format!("redis://127.0.0.1:{tls_port}"), "rediss://"),
    ];
    for (url, expected) in rows {
        let road = Road::to(redis).await;
        let by_road = url.contains("PORT");
        let url = url.replace("PORT", &road.port().to_string());
        let variables = [("QUICKLOGIN__REDIS__URL", url.as_str())];
        let worker = line.site.start_with(&["worker"], &variables, "no Redis; connecting again");
        if by_road {
            eventually("it tries again and again", async || road.taken() >= 2).await;
        }
        // A busy machine may take longer than an attempt lasts.
        let passing = |line: &String| !by_road || expected == "expects TLS" || !line.contains("error=\"timed out\"");
        let said = complaints(&worker).into_iter().filter(|line| line.contains("no Redis") && passing(line));
        let said: Vec<_> = said.collect();
        let [one] = said.as_slice() else { panic!("{url}: one line, not {said:#?}") };
        assert!(one.contains(expected), "{url}: {one}");
        assert!(!worker.said().contains("canary"), "{url}: {}", worker.said());
    }
}

#[tokio::test]
async fn a_file_of_certificates_that_cannot_be_used_is_named_at_start() {
    let line = Line::start("").await;
    let file = line.site.path().join("none.pem");
    let variables = [("SSL_CERT_FILE", file.to_str().expect("a plain name"))];
    let ended = line.site.run_with(&["worker"], &variables);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for expected in ["SSL_CERT_FILE", "none.pem", "error: ", "\nhint: "] {
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}
