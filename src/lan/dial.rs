//! Dialing the LanManager: WebSocket, plain or encrypted, or SignalR; one endpoint after the other.

use allexmaster_protocol::carrier::secure_web_socket::{self, Trust};
use allexmaster_protocol::carrier::{Inbox, Outgoing, signalr, web_socket};
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

/// What a connection is made of.
#[derive(Debug)]
pub enum Reached {
    /// A socket whose bytes are ours to take apart.
    Bytes(TcpStream),
    /// A carrier that does it (TLS); what comes goes into the inbox that was given.
    Texts(Outgoing),
}

/// Dials the endpoints in turn.
///
/// # Errors
///
/// Why none could be reached, for people: each endpoint with its reason.
pub async fn dial_any(endpoints: &[Endpoint], inbox: &Inbox) -> Result<Dialed, String> {
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        match dial(endpoint, inbox.clone()).await {
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

async fn dial(endpoint: &Endpoint, inbox: Inbox) -> Result<Reached, String> {
    let Endpoint {
        protocol,
        host,
        port,
    } = endpoint;
    match protocol {
        LanProtocol::Wss => {
            // Read anew each time: the machine's authorities may have been mended meanwhile.
            let trust = Trust::system().map_err(|error| all_reasons(&error))?;
            let dialed = secure_web_socket::dial(host, *port, &trust).await;
            let socket = dialed.map_err(|error| all_reasons(&error))?;
            Ok(Reached::Texts(web_socket::start(socket, inbox)))
        }
        LanProtocol::Ws => {
            let dialed = web_socket::dial_raw(host, *port).await;
            Ok(Reached::Bytes(dialed.map_err(|error| all_reasons(&error))?))
        }
        LanProtocol::SignalR => {
            let dialed = signalr::dial_raw(host, *port).await;
            Ok(Reached::Bytes(dialed.map_err(|error| all_reasons(&error))?))
        }
    }
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
