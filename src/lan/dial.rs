//! Dialing the LanManager: plain or encrypted, one endpoint after the other.

use allexmaster_protocol::carrier::CONNECT_PATIENCE;
use allexmaster_protocol::framing::MAX_MESSAGE_BYTES;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::config::Endpoint;

/// A connection that was made.
#[derive(Debug)]
pub struct Dialed {
    /// To whom.
    pub endpoint: Endpoint,
    /// The socket.
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// Dials the endpoints in turn.
///
/// # Errors
///
/// Why none could be reached, for people: each endpoint with its reason.
pub async fn dial_any(endpoints: &[Endpoint]) -> Result<Dialed, String> {
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        match dial(endpoint).await {
            Ok(socket) => return Ok(Dialed { endpoint: endpoint.clone(), socket }),
            Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
        }
    }
    Err(reasons.join("; "))
}

async fn dial(
    endpoint: &Endpoint,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, String> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let dialing = tokio_tungstenite::connect_async_with_config(
        endpoint.to_string(),
        Some(config),
        true, // no delay: frames are small and somebody waits for each
    );
    match tokio::time::timeout(CONNECT_PATIENCE, dialing).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(innermost(&error)),
        Err(_) => Err(format!("no answer within {} s", CONNECT_PATIENCE.as_secs())),
    }
}

/// The reason behind the reasons: what the system or the peer said.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
