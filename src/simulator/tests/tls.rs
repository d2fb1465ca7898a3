//! The same views behind TLS.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio_rustls::TlsConnector;

use super::*;
use crate::simulator::tls::HANDSHAKE_WITHIN;

/// A simulator behind TLS, and how clients come to it that remember their sessions.
struct Secured {
    simulator: Simulator,
    address: std::net::SocketAddr,
    connector: TlsConnector,
}

async fn secured() -> Secured {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["wechat".to_owned()]).expect("a good name");
    let tls = Tls::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).expect("they go together");
    let mut trusted = RootCertStore::empty();
    trusted.add(cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let trusting = versions.expect("the provider knows both versions").with_root_certificates(trusted);
    let mut config = trusting.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let simulator = Simulator::default();
    tokio::spawn(simulator.clone().serve_tls(listener, tls, CancellationToken::new()));
    Secured { simulator, address, connector: TlsConnector::from(Arc::new(config)) }
}

impl Secured {
    async fn knock(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Asks whether it lives, on a connection of its own; the whole answer, and what was agreed on.
    async fn ask(&self) -> (String, ClientConnection) {
        let wechat = ServerName::try_from("wechat").expect("a name");
        let mut stream = self.connector.connect(wechat, self.knock().await).await.expect("a handshake");
        let request = b"GET /sim/livez HTTP/1.1\r\nhost: wechat\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("a sent request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer that ends in order");
        (answer, stream.into_inner().1)
    }

    fn handshakes(&self) -> Handshakes {
        self.simulator.asked_without_codes().handshakes
    }

    async fn one_fails(&self) {
        let failing = async {
            while self.handshakes().failed == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), failing).await.expect("a handshake fails");
    }
}

#[tokio::test]
async fn handshakes_are_counted_and_those_that_go_on_from_a_session_apart() {
    let secured = secured().await;
    for _ in 0..3 {
        let (answer, agreed) = secured.ask().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok"), "{answer}");
        assert_eq!(agreed.alpn_protocol(), Some(b"http/1.1".as_slice()));
    }
    assert_eq!(secured.handshakes(), Handshakes { full: 1, resumed: 2, failed: 0 });
    assert_eq!(secured.simulator.asked_without_codes().connections, 3);
    secured.simulator.forget_asked();
    assert_eq!(secured.handshakes(), Handshakes::default());
}

#[tokio::test]
async fn who_does_not_speak_tls_is_hung_up_on_and_harms_nobody() {
    let secured = secured().await;
    let mut stranger = secured.knock().await;
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("a sent request");
    secured.one_fails().await;
    assert!(secured.ask().await.0.ends_with("ok"));
    assert_eq!(secured.handshakes(), Handshakes { full: 1, resumed: 0, failed: 1 });
    assert_eq!(secured.simulator.asked_without_codes().phone.calls, 0);
}

#[tokio::test]
async fn who_knocks_and_says_nothing_is_hung_up_on_in_time_while_others_are_served() {
    let secured = secured().await;
    let began = Instant::now();
    let mut silent = secured.knock().await;
    assert!(secured.ask().await.0.ends_with("ok"));
    tokio::time::pause();
    let heard = silent.read(&mut [0; 16]).await.expect("an end in order");
    assert_eq!(heard, 0, "an end");
    assert!(began.elapsed() >= HANDSHAKE_WITHIN && began.elapsed() < HANDSHAKE_WITHIN * 2, "{:?}", began.elapsed());
    secured.one_fails().await;
}
