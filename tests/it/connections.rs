//! Callers that hold connections and do not use them: health answers, other callers are served, and memory stays bounded.
//! The process has few descriptors, so that a few hundred connections are too many.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::process::{Process, free_port};
use crate::support::program::{LISTENING, Site};

const DESCRIPTORS: u32 = 256;
/// More than there are descriptors.
const HOLDERS: usize = 300;
/// So many descriptors at most are in use, and the rest is spare.
const SPARE_ABOVE: usize = DESCRIPTORS as usize - 48;
/// Health answers in this time: a second, and another two for a busy machine.
const HEALTHY: Duration = Duration::from_secs(3);
/// What connections may take in all: about a hundred with 16 KiB in and out, and what the allocator does not give back.
const MEMORY_BYTES: u64 = 24 << 20;
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Gateway, worker and simulator in one process.
struct Served {
    site: Site,
    process: Process,
    gateway: u16,
    ops: u16,
}

impl Served {
    fn start() -> Self {
        let (gateway, ops) = (free_port(), free_port());
        let site = Site::with(&format!(
            "gateway.listen = \"127.0.0.1:{gateway}\"\nops.listen = \"127.0.0.1:{ops}\"\n\
             simulator.listen = \"127.0.0.1:0\"\nworker.slots = 8\n"
        ));
        let process = site.start_with_descriptors(DESCRIPTORS, &["serve"], LISTENING);
        Self { site, process, gateway, ops }
    }

    fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel says it");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("it runs").count()
    }

    /// Looks at health again and again, as a probe does, and submits a login as an honest caller from `from` does.
    async fn serves_callers_from(&self, from: Ipv4Addr) {
        let (probe, caller) = (client(HERE), client(from));
        for _ in 0..5 {
            let began = Instant::now();
            assert_eq!(get(&probe, self.ops, "/livez").await, StatusCode::OK, "{}", self.process.said());
            assert!(began.elapsed() < HEALTHY, "{:?}", began.elapsed());
            let began = Instant::now();
            assert_eq!(get(&caller, self.gateway, "/livez").await, StatusCode::OK, "{}", self.process.said());
            assert!(began.elapsed() < HEALTHY, "{:?}", began.elapsed());
        }
        let url = format!("http://127.0.0.1:{}/v1/logins", self.gateway);
        let body = json!({"code": "c"}).to_string();
        let sent = caller.post(url).header("content-type", "application/json").body(body).send().await;
        assert_eq!(sent.expect("an answer").status(), StatusCode::ACCEPTED);
    }
}

/// A caller that makes a new connection for each call.
fn client(from: Ipv4Addr) -> Client {
    let builder = Client::builder().no_proxy().local_address(IpAddr::V4(from)).pool_max_idle_per_host(0);
    builder.timeout(Duration::from_secs(60)).build().expect("a client")
}

async fn get(client: &Client, port: u16, path: &str) -> StatusCode {
    let url = format!("http://127.0.0.1:{port}{path}");
    client.get(url).send().await.expect("an answer").status()
}

/// Connections that are held and never read from. Each has sent `request`, or what of it was taken.
async fn hold(port: u16, request: &[u8]) -> Vec<TcpStream> {
    let mut held = vec![];
    for _ in 0..HOLDERS {
        let mut stream = TcpStream::connect((HERE, port)).await.expect("the kernel takes it");
        // The server may have hung up, or read no further.
        let _ = timeout(Duration::from_millis(20), stream.write_all(request)).await;
        held.push(stream);
    }
    held
}

fn attacks() -> [(&'static str, Vec<u8>); 5] {
    [
        ("idle", vec![]),
        ("unfinished head", [b"GET /livez HTTP/1.1\r\nx: ".to_vec(), vec![b'y'; 395_000]].concat()),
        ("unfinished small head", b"GET /livez HTTP/1.1\r\nhost: x\r\n".to_vec()),
        (
            "unfinished body",
            b"POST /v1/logins HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
                .to_vec(),
        ),
        ("never read", b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200)),
    ]
}

#[tokio::test]
async fn callers_that_hold_connections_keep_nobody_out() {
    for (attack, request) in attacks() {
        let served = Served::start();
        let before = served.memory_bytes();
        let _held = hold(served.gateway, &request).await;
        served.serves_callers_from(ELSEWHERE).await;
        served.serves_callers_from(HERE).await;
        let grown = served.memory_bytes().saturating_sub(before);
        assert!(grown < MEMORY_BYTES, "{attack}: {grown} bytes more");
        assert!(served.descriptors() < SPARE_ABOVE, "{attack}: {}", served.descriptors());
        let warned = served.site.logs().matches("too many HTTP connections").count();
        assert!(warned <= 1, "{attack}: {warned} warnings within a minute");
        assert!(attack != "idle" || warned == 1, "{}", served.site.logs());
    }
}

#[tokio::test]
async fn callers_that_hold_connections_to_the_operators_listener_keep_nobody_out() {
    for (attack, request) in attacks() {
        let served = Served::start();
        let _held = hold(served.ops, &request).await;
        served.serves_callers_from(HERE).await;
        assert!(served.descriptors() < SPARE_ABOVE, "{attack}: {}", served.descriptors());
    }
}

#[tokio::test]
async fn calls_in_hand_are_not_closed_for_new_connections_and_these_are_told_so() {
    let served = Served::start();
    let url = format!("http://127.0.0.1:{}/v1/logins", served.gateway);
    // An id of version 7 that was made now, so that its login could be under way.
    let id = uuid::Uuid::now_v7();
    let caller = client(HERE);
    let waiting: Vec<_> = (0..HOLDERS).map(|_| tokio::spawn(caller.get(format!("{url}/{id}?wait=5")).send())).collect();
    let (mut waited, mut refused) = (0, 0);
    for call in waiting {
        match call.await.expect("no panic") {
            Ok(response) if response.status() == StatusCode::ACCEPTED => waited += 1,
            Ok(response) => {
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
                assert_eq!(response.headers()["retry-after"], "1");
                assert_eq!(response.headers()["cache-control"], "no-store");
                refused += 1;
            }
            // Its request was on the way when the server closed.
            Err(_) => refused += 1,
        }
    }
    assert!(waited >= 40 && refused >= HOLDERS / 2, "{waited} waited, {refused} were refused");
}
