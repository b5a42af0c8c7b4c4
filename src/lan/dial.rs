//! Dialing the LanManager: plain or encrypted, one endpoint after the other.

use allexmaster_protocol::carrier::secure_web_socket::{self, Trust};
use allexmaster_protocol::carrier::{Inbox, Outgoing, web_socket};

use crate::config::Endpoint;

/// A connection that was made.
#[derive(Debug)]
pub struct Dialed {
    /// To whom.
    pub endpoint: Endpoint,
    /// What is sent goes here; what comes, into the inbox that was given.
    pub outgoing: Outgoing,
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
            Ok(outgoing) => {
                return Ok(Dialed {
                    endpoint: endpoint.clone(),
                    outgoing,
                });
            }
            Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
        }
    }
    Err(reasons.join("; "))
}

async fn dial(endpoint: &Endpoint, inbox: Inbox) -> Result<Outgoing, String> {
    let Endpoint {
        encrypted,
        host,
        port,
    } = endpoint;
    if *encrypted {
        // Read anew each time: the machine's authorities may have been mended meanwhile.
        let trust = Trust::system().map_err(|error| all_reasons(&error))?;
        let dialed = secure_web_socket::dial(host, *port, &trust).await;
        let socket = dialed.map_err(|error| all_reasons(&error))?;
        Ok(web_socket::start(socket, inbox))
    } else {
        let dialed = web_socket::dial(host, *port).await;
        let socket = dialed.map_err(|error| all_reasons(&error))?;
        Ok(web_socket::start(socket, inbox))
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
