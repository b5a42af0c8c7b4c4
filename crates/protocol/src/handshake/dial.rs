//! Dialling: plain and encrypted WebSockets, and SignalR.

use std::future::Future;
use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;
use tungstenite::client::IntoClientRequest;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;

use super::{CONNECT_TIMEOUT, MAX_HEAD_BYTES};

#[cfg(feature = "tls")]
pub use secure::{SecureStream, Trust, TrustError, secure_web_socket};

/// The most bytes of an answer to a negotiation; the JavaScript server's has about 300.
const MAX_NEGOTIATION_BYTES: usize = 64 * 1_024;
/// The most letters of a connection's identifier, which goes into a URL.
const MAX_IDENTIFIER_LETTERS: usize = 128;

/// Why a connection could not be opened.
#[derive(Debug, Error)]
pub enum DialError {
    /// Nobody answers at the address.
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    /// Somebody answers, but not as a WebSocket.
    #[error(
        "the WebSocket handshake with {peer} failed; check that it serves WebSockets on this port"
    )]
    Handshake {
        peer: String,
        #[source]
        source: Box<tungstenite::Error>,
    },
    /// Somebody answers, but not with a TLS that can be trusted.
    #[error(
        "no trusted TLS with {peer}; check its certificate, and that it serves wss on this port"
    )]
    Tls {
        peer: String,
        #[source]
        source: io::Error,
    },
    /// Somebody answers, but grants no SignalR connection.
    #[error(
        "{peer} grants no SignalR connection: {reason}; check that it serves SignalR on this port"
    )]
    Negotiation { peer: String, reason: String },
    /// It took longer than [`CONNECT_TIMEOUT`].
    #[error("{peer} did not answer within {seconds} seconds")]
    TimedOut { peer: String, seconds: u64 },
}

impl DialError {
    /// Whether the peer's system refused the connection at once: another port may be the right one.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Connect { address: _, source } => {
                source.kind() == io::ErrorKind::ConnectionRefused
            }
            Self::Handshake { .. }
            | Self::Tls { .. }
            | Self::Negotiation { .. }
            | Self::TimedOut { .. } => false,
        }
    }
}

/// Dials `ws://host:port/`, within [`CONNECT_TIMEOUT`]. Gives the stream right behind the handshake, not
/// a byte further: its wire is a [`Wire::web_socket_client`](crate::framing::wire::Wire::web_socket_client).
///
/// # Errors
/// [`DialError`].
pub async fn web_socket(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let address = address(host, port);
    let opening = async {
        let stream = connect(host, port, &address).await?;
        shake_hands(stream, &address, "").await
    };
    within_timeout(opening, &address).await
}

/// Dials SignalR at `http://host:port/`, within [`CONNECT_TIMEOUT`]: negotiates a connection and opens
/// its WebSocket. Gives the stream right behind the WebSocket's handshake: SignalR's own is made by
/// its wire, a [`Wire::signalr_client`](crate::framing::wire::Wire::signalr_client).
///
/// # Errors
/// [`DialError`].
pub async fn signalr(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let address = address(host, port);
    let opening = async {
        let negotiating = negotiate(connect(host, port, &address).await?, &address);
        let identifier = negotiating.await.map_err(|reason| DialError::Negotiation {
            peer: address.clone(),
            reason,
        })?;
        let stream = connect(host, port, &address).await?;
        shake_hands(stream, &address, &format!("?id={identifier}")).await
    };
    within_timeout(Box::pin(opening), &address).await
}

/// How an address is written in a URL and in messages: IPv6 in brackets.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

async fn connect(host: &str, port: u16, address: &str) -> Result<TcpStream, DialError> {
    let failed = |source| DialError::Connect {
        address: address.to_owned(),
        source,
    };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    // Frames are small and wait for one another; without this each waits 40 ms for the last.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Opens a WebSocket on a stream, with what the URL has behind its last slash.
async fn shake_hands<Stream>(
    mut stream: Stream,
    address: &str,
    query: &str,
) -> Result<Stream, DialError>
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    let shaking = async {
        let request = format!("ws://{address}/{query}").into_client_request()?;
        let (request, key) = generate_request(request)?;
        stream.write_all(&request).await?;
        stream.flush().await?;
        let head = read_head(&mut stream).await?;
        let (_, response) =
            Response::try_parse(&head)?.ok_or(ProtocolError::HandshakeIncomplete)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(tungstenite::Error::Http(Box::new(response)));
        }
        let header = |name| response.headers().get(name).map(|value| value.as_bytes());
        if !header(UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")) {
            return Err(ProtocolError::MissingUpgradeWebSocketHeader.into());
        }
        let accept_key = derive_accept_key(key.as_bytes());
        if header(SEC_WEBSOCKET_ACCEPT) != Some(accept_key.as_bytes()) {
            return Err(ProtocolError::SecWebSocketAcceptKeyMismatch.into());
        }
        Ok(())
    };
    match shaking.await {
        Ok(()) => Ok(stream),
        Err(source) => Err(DialError::Handshake {
            peer: address.to_owned(),
            source: Box::new(source),
        }),
    }
}

/// Reads up to the blank line and not a byte further, one byte at a time: what stands behind it has to
/// stay in the socket, which may be given to another process. Such heads have some 200 bytes.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, tungstenite::Error> {
    let mut head = Vec::new();
    while !head.ends_with(b"\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(tungstenite::error::CapacityError::TooManyHeaders.into());
        }
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ProtocolError::HandshakeIncomplete.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(head)
}

async fn within_timeout<Opened>(
    opening: impl Future<Output = Result<Opened, DialError>>,
    address: &str,
) -> Result<Opened, DialError> {
    time::timeout(CONNECT_TIMEOUT, opening)
        .await
        .map_err(|_| DialError::TimedOut {
            peer: address.to_owned(),
            seconds: CONNECT_TIMEOUT.as_secs(),
        })?
}

/// Asks for a SignalR connection; gives its identifier, or the reason for people.
async fn negotiate(stream: TcpStream, address: &str) -> Result<String, String> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let request = Request::post("/negotiate?negotiateVersion=1")
        .header(HOST, address)
        .header(CONTENT_LENGTH, 0)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let asking = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_NEGOTIATION_BYTES);
        let bytes = body.collect().await.map_err(|error| error.to_string())?;
        identifier_of(&bytes.to_bytes())
    };
    tokio::select! {
        answer = asking => answer,
        // It ends when the peer closes, which may be before the answer was taken.
        ended = connection => match ended {
            Ok(()) => Err("it closed the connection before it answered".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// What a WebSocket has to name. Newer servers tell a token beside the identifier, and want that.
fn identifier_of(body: &[u8]) -> Result<String, String> {
    let answer: Value =
        serde_json::from_slice(body).map_err(|_| "its answer is not JSON".to_owned())?;
    let member = |name| answer.get(name).and_then(Value::as_str);
    let identifier = member("connectionToken")
        .or_else(|| member("connectionId"))
        .ok_or("its answer names no connection")?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if identifier.len() > MAX_IDENTIFIER_LETTERS || !identifier.chars().all(is_plain) {
        return Err("its answer names a connection in a way that fits no URL".to_owned());
    }
    Ok(identifier.to_owned())
}

/// `wss`. No AllexJS program serves it itself: a reverse proxy in front of a LanManager does.
#[cfg(feature = "tls")]
mod secure {
    use std::sync::Arc;

    use thiserror::Error;
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

    use super::{DialError, address, connect, shake_hands, within_timeout};

    pub type SecureStream = TlsStream<TcpStream>;

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
            let provider = Arc::new(ring::default_provider());
            let configuration = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(TrustError::Unusable)?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok(Self(Arc::new(configuration)))
        }
    }

    /// Dials `wss://host:port/`, within [`CONNECT_TIMEOUT`](super::CONNECT_TIMEOUT). As
    /// [`web_socket`](super::web_socket) otherwise.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn secure_web_socket(
        host: &str,
        port: u16,
        trust: &Trust,
    ) -> Result<SecureStream, DialError> {
        let address = address(host, port);
        let opening = async {
            let failed = |source| DialError::Tls {
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
        within_timeout(Box::pin(opening), &address).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negotiation_names_its_connection_or_says_why_not() {
        let named = |body: &str| identifier_of(body.as_bytes());
        assert_eq!(named(r#"{"connectionId":"1"}"#), Ok("1".to_owned()));
        let both = r#"{"connectionId":"1","connectionToken":"x-Y_2"}"#;
        assert_eq!(named(both), Ok("x-Y_2".to_owned()));
        let long = format!(r#"{{"connectionId":"{}"}}"#, "x".repeat(200));
        for body in [
            "",
            "1",
            "{}",
            r#"{"connectionId":1}"#,
            r#"{"connectionId":"a&b"}"#,
            &long,
        ] {
            assert!(named(body).is_err(), "{body}");
        }
    }
}
