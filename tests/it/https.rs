//! WeChat behind TLS: whom a worker trusts, and how long it keeps its connections. The handshakes themselves are the
//! simulator's own tests' business.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use quicklogin::simulator::{AppChange, Asked, Handshakes, Simulator, SimulatorOptions, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reqwest::{Certificate, Client};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::fleet::{APP, SECRET, eventually};
use crate::support::line::Line;
use crate::support::process::{Process, folder, free_port};
use crate::support::program::Site;

/// As long as WeChat's own connections may be idle.
const WECHATS_IDLE: Duration = Duration::from_secs(20);
/// What a busy machine adds to a time.
const SLACK: Duration = Duration::from_secs(4);

/// Who vouches for certificates of this machine.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut about = CertificateParams::default();
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        about.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(about, key).expect("a certificate of its own"))
    }

    /// A certificate for this machine, and its key.
    fn vouch(&self) -> (String, String) {
        let (about, key) = (CertificateParams::new(["127.0.0.1".to_owned()]), KeyPair::generate().expect("a key"));
        let certificate = about.expect("a good name").signed_by(&key, &*self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// The file that names it.
    fn written_to(&self, folder: &Path) -> PathBuf {
        let file = folder.join("authority.pem");
        std::fs::write(&file, self.0.pem()).expect("the folder is ours to write");
        file
    }
}

/// A line whose WeChat speaks TLS.
struct Secured {
    line: Line,
    url: String,
    authority: PathBuf,
    _folder: TempDir,
    _serving: DropGuard,
}

impl Secured {
    /// WeChat drops connections that were idle for so long.
    async fn start(idle: Duration) -> Self {
        let (folder, authority) = (folder("https-"), authority());
        let (certificate, key) = authority.vouch();
        let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).expect("they go together");
        let mut line = Line::start("login.patience_s = 2").await;
        line.simulator = Simulator::new(&SimulatorOptions { idle, latency_ms: 5, ..SimulatorOptions::default() });
        line.simulator.put_app(AppChange::new(APP, SECRET)).expect("a good app");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("it listens"));
        let stop = CancellationToken::new();
        tokio::spawn(line.simulator.clone().serve_tls(listener, tls, stop.clone()));
        let authority = authority.written_to(folder.path());
        Self { line, url, authority, _folder: folder, _serving: stop.drop_guard() }
    }

    /// A worker that trusts whom WeChat's certificate is from.
    fn worker(&self, variables: &[(&str, &str)]) -> Process {
        self.worker_that_trusts(&self.authority, variables)
    }

    fn worker_that_trusts(&self, authority: &Path, variables: &[(&str, &str)]) -> Process {
        let authority = authority.to_str().expect("cargo's folder has a plain name");
        let own = [("QUICKLOGIN__WECHAT__BASE_URL", self.url.as_str()), ("SSL_CERT_FILE", authority)];
        self.line.worker_with(&[&own, variables].concat())
    }

    fn asked(&self) -> Asked {
        self.line.simulator.asked_without_codes()
    }

    async fn no_connection_is_left(&self) {
        eventually("no connection is left", async || self.asked().connections_open == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_go_over_tls_and_shake_hands_about_once_for_each_slot() {
    let wechat = Secured::start(WECHATS_IDLE).await;
    let _worker = wechat.worker(&[("QUICKLOGIN__WORKER__SLOTS", "8")]);
    let taps = wechat.line.taps(500, &[]);
    join_all(taps.iter().map(|tap| wechat.line.publish(tap))).await;
    wechat.line.all_succeed_asked_once(&taps).await;
    let asked = wechat.asked();
    let Handshakes { full, resumed, failed } = asked.handshakes;
    let of_a_thousand = (full + resumed) * 1000 / asked.phone.calls;
    assert!(full > 0, "it is TLS: {asked:?}");
    assert!(of_a_thousand <= 48, "24 for 8 slots are too many: {asked:?}");
    assert_eq!((failed, asked.connections), (0, full + resumed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_wechat_has_closed_is_made_again_where_its_session_left_off() {
    let wechat = Secured::start(Duration::from_secs(4)).await;
    let _worker = wechat.worker(&[]);
    for _ in 0..3 {
        let tap = wechat.line.tap([]);
        wechat.line.publish(&tap).await;
        let (outcome, attempts) = wechat.line.outcome(&tap).await;
        // A worker hears in its own time that a connection has ended, and what is sent into that goes once more.
        assert!(outcome == "succeeded" && attempts <= 2, "{outcome} {attempts}");
        assert_eq!(wechat.line.asked(&tap).asked, 1);
        wechat.no_connection_is_left().await;
    }
    assert_eq!(wechat.asked().handshakes, Handshakes { full: 1, resumed: 2, failed: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_is_unavailable_and_nothing_is_asked() {
    let wechat = Secured::start(WECHATS_IDLE).await;
    // It leaves a token for all, so that it is the exchange that fails.
    let trusting = wechat.worker(&[]);
    let tap = wechat.line.tap([]);
    wechat.line.publish(&tap).await;
    assert_eq!(wechat.line.outcome(&tap).await.0, "succeeded");
    drop(trusting);

    let elsewhere = folder("another-");
    let another = Authority::new("another authority").written_to(elsewhere.path());
    let distrustful = wechat.worker_that_trusts(&another, &[]);
    let tap = wechat.line.tap([]);
    wechat.line.publish(&tap).await;
    assert_eq!(wechat.line.outcome(&tap).await.0, "unavailable");
    assert_eq!(wechat.line.asked(&tap).asked, 0);
    assert!(wechat.asked().handshakes.failed > 0, "it was WeChat that it did not trust");

    let said = format!("{}{}", distrustful.said(), wechat.line.result(&tap).await);
    assert!(said.contains("invalid peer certificate"), "{said}");
    let token = wechat.line.simulator.token_of(APP).expect("the simulator knows the app");
    for secret in [token.as_str(), "access_token", "https://", tap.request.code.expose(), SECRET] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_by_us_within_twice_the_setting() {
    let wechat = Secured::start(WECHATS_IDLE).await;
    let setting = Duration::from_secs(1);
    let _worker = wechat.worker(&[("QUICKLOGIN__WECHAT__POOL_IDLE_S", "1")]);
    let taps = wechat.line.taps(8, &[]);
    wechat.line.publish_all(&taps).await;
    wechat.line.all_succeed_asked_once(&taps).await;
    let last = Instant::now();
    assert!(wechat.asked().connections_open > 0, "they are kept");
    wechat.no_connection_is_left().await;
    let idle = last.elapsed();
    assert!(idle < setting * 2 + SLACK, "{idle:?}");
}

#[tokio::test]
async fn the_simulator_as_a_process_serves_tls_with_the_certificate_it_is_given() {
    let (site, authority) = (Site::with(&format!("simulator.listen = \"127.0.0.1:{}\"", free_port())), authority());
    let (certificate, key) = authority.vouch();
    std::fs::write(site.path().join("wechat.crt"), certificate).expect("the folder is ours to write");
    std::fs::write(site.path().join("wechat.key"), key).expect("the folder is ours to write");
    let arguments = ["simulate", "--tls-cert", "wechat.crt", "--tls-key", "wechat.key"];
    let simulator = site.start(&arguments, "tap the button");
    let said = simulator.said();
    let url = said.split_once("BASE_URL=").and_then(|(_, rest)| rest.lines().next()).expect("it says where it is");
    assert!(url.starts_with("https://") && said.contains("SSL_CERT_FILE"), "{said}");

    let trusted = Certificate::from_pem(authority.0.pem().as_bytes()).expect("a certificate");
    let client = Client::builder().no_proxy().tls_certs_only([trusted]).build().expect("a client");
    let asked = client.get(format!("{url}/sim/asked")).send().await.expect("an answer").bytes().await.expect("a body");
    let asked: Asked = serde_json::from_slice(&asked).expect("the record");
    assert_eq!((asked.connections, asked.handshakes), (1, Handshakes { full: 1, resumed: 0, failed: 0 }));
}

#[test]
fn certificates_that_cannot_be_served_are_said_at_start() {
    let (site, authority) = (Site::with("simulator.listen = \"127.0.0.1:0\""), authority());
    let ((certificate, _), (_, anothers_key)) = (authority.vouch(), authority.vouch());
    for (name, text) in [("wechat.crt", certificate.as_str()), ("other.key", &anothers_key), ("empty", "")] {
        std::fs::write(site.path().join(name), text).expect("the folder is ours to write");
    }
    for (cert, key, expected) in [
        ("nowhere.crt", "other.key", "nowhere.crt: No such file"),
        ("empty", "other.key", "there is no certificate"),
        ("wechat.crt", "empty", "there is no key"),
        ("wechat.crt", "other.key", "do not go together"),
    ] {
        let ended = site.run(&["simulate", "--tls-cert", cert, "--tls-key", key]);
        let said = &ended.stderr;
        assert_eq!(ended.code, Some(2), "{said}");
        assert!(said.contains("error: ") && said.contains("\nhint: ") && said.contains(expected), "{said}");
    }
    let alone = site.run(&["simulate", "--tls-cert", "wechat.crt"]);
    assert!(alone.code == Some(2) && alone.stderr.contains("--tls-key"), "{}", alone.stderr);
}

fn authority() -> Authority {
    Authority::new("the authority of this test")
}
