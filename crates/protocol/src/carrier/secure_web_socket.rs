//! WebSockets over TLS (`wss`), the dialling side. No AllexJS program serves them itself: a reverse
//! proxy in front of a LanManager does.

use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;

use super::web_socket::{OpenError, address, connect, shake_hands, within_patience};

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

/// Why nobody can be believed.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The machine has no usable certificates of authorities.
    #[error(
        "this machine has no certificates of authorities; install them, or name a file in SSL_CERT_FILE"
    )]
    NoneFound,
    /// The cryptography cannot be set up, or a certificate cannot be used.
    #[error("the certificates of authorities cannot be used")]
    Unusable(#[source] rustls::Error),
}

impl Trust {
    /// The authorities that this machine believes (or those of `SSL_CERT_FILE`). Reads files.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn system() -> Result<Self, TrustError> {
        // Single broken certificates on a machine are common, and no reason to believe nobody.
        let found = rustls_native_certs::load_native_certs().certs;
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found);
        if usable == 0 {
            return Err(TrustError::NoneFound);
        }
        Self::of(roots)
    }

    /// Only these authorities.
    ///
    /// # Errors
    /// [`TrustError::Unusable`].
    pub fn only(
        authorities: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(TrustError::Unusable)?;
        }
        Self::of(roots)
    }

    fn of(roots: RootCertStore) -> Result<Self, TrustError> {
        let configuration = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(configuration)))
    }
}

/// Dials `wss://host:port/`, within [`CONNECT_PATIENCE`](super::CONNECT_PATIENCE). The socket is
/// pumped by [`web_socket::start`](super::web_socket::start).
///
/// # Errors
/// [`OpenError`].
pub async fn dial(
    host: &str,
    port: u16,
    trust: &Trust,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, OpenError> {
    let address = address(host, port);
    let opening = async {
        let failed = |source| OpenError::Tls {
            peer: address.clone(),
            source,
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let stream = connect(host, port, &address).await?;
        let secure = TlsConnector::from(Arc::clone(&trust.0))
            .connect(name, stream)
            .await
            .map_err(failed)?;
        shake_hands(secure, &address, "").await
    };
    // The state of a TLS handshake is 18 KB, too much to carry about in every caller.
    within_patience(Box::pin(opening), &address).await
}
