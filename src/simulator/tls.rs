//! TLS in front of both views: the certificate that the simulator shows, and the handshake. It asks no client who it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::refused::Refused;

/// A client that has not shaken hands in this time is hung up on.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Nothing official says that WeChat speaks HTTP/2.
const PROTOCOL: &[u8] = b"http/1.1";

/// The certificate that a simulator shows, and its key; clones share the sessions that clients may resume.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// From PEM: the certificate, with those that vouch for it after it, and its key.
    ///
    /// # Errors
    /// Either cannot be read, or the key is another certificate's.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, Refused> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| Refused::new("there is no certificate", "give it as PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Refused::new("there is no key", "give it as PEM"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows both versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|_| Refused::new("certificate and key do not go together", "give the key of the certificate"))?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands. None where the client does not, or not in time, or does not like the certificate.
    pub(super) async fn shake_hands(&self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, HandshakeKind)> {
        let accepted = timeout(HANDSHAKE_WITHIN, self.0.accept(stream)).await;
        let stream = accepted.inspect_err(|late| debug!(%late, "no handshake")).ok()?;
        let stream = stream.inspect_err(|error| debug!(%error, "no handshake")).ok()?;
        let kind = stream.get_ref().1.handshake_kind()?;
        Some((stream, kind))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(***)")
    }
}
