//! Dialing the LanManager: WebSocket, plain or encrypted, or SignalR; one endpoint after the other.

use allexmaster_protocol::handshake::dial::{self, SecureStream, Trust};
use tokio::net::TcpStream;

use allexmaster_sessions::{Endpoint, LanProtocol};

/// A connection that was made.
#[derive(Debug)]
pub struct Dialed {
    /// To whom.
    pub endpoint: Endpoint,
    /// Over what.
    pub reached: Reached,
}

/// The stream right behind the WebSocket's handshake.
#[derive(Debug)]
pub enum Reached {
    /// A socket that outlives this process, when the keeper holds it.
    Plain(TcpStream),
    /// The keys of TLS end with this process.
    Encrypted(Box<SecureStream>),
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
            Ok(reached) => {
                return Ok(Dialed {
                    endpoint: endpoint.clone(),
                    reached,
                });
            }
            Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
        }
    }
    Err(reasons.join("; "))
}

async fn dial(endpoint: &Endpoint) -> Result<Reached, String> {
    let Endpoint {
        protocol,
        host,
        port,
    } = endpoint;
    let dialed = match protocol {
        LanProtocol::Wss => {
            // Read anew each time: the machine's authorities may have been mended meanwhile.
            let trust = Trust::system().map_err(|error| all_reasons(&error))?;
            let dialed = dial::secure_web_socket(host, *port, &trust).await;
            dialed.map(|stream| Reached::Encrypted(Box::new(stream)))
        }
        LanProtocol::Ws => dial::web_socket(host, *port).await.map(Reached::Plain),
        LanProtocol::SignalR => dial::signalr(host, *port).await.map(Reached::Plain),
    };
    dialed.map_err(|error| all_reasons(&error))
}

/// An error with the errors behind it. The first line names the endpoint, which the
/// caller does already, so the innermost reason alone would often do; all of them help more.
fn all_reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        source = reason.source();
    }
    text
}
