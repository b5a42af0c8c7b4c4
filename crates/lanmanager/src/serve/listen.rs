//! The listeners: which ports, how they are bound, and what they accept.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use allexmaster_protocol::close::CarrierKind;
use allexmaster_protocol::framing::wire::Wire;
use allexmaster_protocol::handshake::accept::{self, AcceptError, Negotiator};
use allexmaster_protocol::pump::Opened;
use allexmaster_protocol::server::Peer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::StartError;

/// Most connections of one listener that have not shaken hands yet. Whoever comes
/// beyond it is turned away at once, so that peers that say nothing cannot make
/// others wait.
const MAX_HANDSHAKES: usize = 1_024;

/// How long a listener rests when the system has no more descriptors for it.
const EXHAUSTED_REST: std::time::Duration = std::time::Duration::from_millis(100);

/// One of the four ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// Plain WebSocket, on the port that the AllexJS documentation names.
    WebSocket,
    /// Plain WebSocket, on the port that the JavaScript LanManager uses.
    WebSocketOfJavaScript,
    /// SignalR over HTTP, which the JavaScript master dials.
    SignalR,
    Tcp,
}

impl Door {
    pub const ALL: [Self; 4] = [
        Self::WebSocket,
        Self::WebSocketOfJavaScript,
        Self::SignalR,
        Self::Tcp,
    ];

    /// The port before `boot.portcorrection`.
    #[must_use]
    pub fn standard_port(self) -> u16 {
        match self {
            Self::WebSocket => 23_552,
            Self::WebSocketOfJavaScript => 23_451,
            Self::SignalR => 22_451,
            Self::Tcp => 23_551,
        }
    }

    /// The option of the command line that moves this port alone.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::WebSocket => "--ws-port",
            Self::WebSocketOfJavaScript => "--javascript-ws-port",
            Self::SignalR => "--signalr-port",
            Self::Tcp => "--tcp-port",
        }
    }

    pub(super) fn carrier(self) -> CarrierKind {
        match self {
            Self::WebSocket | Self::WebSocketOfJavaScript => CarrierKind::WebSocket,
            Self::SignalR => CarrierKind::SignalR,
            Self::Tcp => CarrierKind::Socket,
        }
    }

    /// The number by which the server knows the listener.
    fn number(self) -> u32 {
        u32::from(self.standard_port())
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::WebSocket => "WebSocket",
            Self::WebSocketOfJavaScript => "WebSocket, JavaScript's port",
            Self::SignalR => "SignalR",
            Self::Tcp => "raw TCP",
        })
    }
}

/// A port that is bound.
pub(super) struct BoundDoor {
    pub(super) door: Door,
    pub(super) address: SocketAddr,
    listener: TcpListener,
}

/// Binds one port; `port` 0 takes any free one.
pub(super) async fn bind(door: Door, address: IpAddr, port: u16) -> Result<BoundDoor, StartError> {
    let address = SocketAddr::new(address, port);
    let cannot = |source: io::Error| StartError::Port {
        door,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    Ok(BoundDoor {
        door,
        address,
        listener,
    })
}

/// A connection whose handshake is done.
pub(super) struct Arrival {
    pub(super) door: Door,
    pub(super) peer: Peer,
    pub(super) opened: Opened<TcpStream>,
}

/// Accepts until the receiver is dropped. Handshakes run concurrently.
pub(super) async fn accept_all(bound: BoundDoor, arrivals: mpsc::Sender<Arrival>) {
    let BoundDoor { door, listener, .. } = bound;
    let room = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let negotiator = Arc::new(Negotiator::default());
    let mut handshakes = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%door, %error, "a connection could not be accepted");
                    tokio::time::sleep(EXHAUSTED_REST).await;
                    continue;
                }
            },
            Some(_) = handshakes.join_next() => continue,
            () = arrivals.closed() => return,
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%door, %address, "turned away: too many peers do not finish their handshake");
            continue;
        };
        let peer = Peer {
            listener: door.number(),
            address: Some(address.ip().to_canonical()),
            ..Peer::default()
        };
        let negotiator = Arc::clone(&negotiator);
        handshakes.spawn(welcome(
            door,
            stream,
            peer,
            negotiator,
            arrivals.clone(),
            permit,
        ));
    }
}

/// Does the handshake with one peer and announces the connection.
async fn welcome(
    door: Door,
    stream: TcpStream,
    peer: Peer,
    negotiator: Arc<Negotiator>,
    arrivals: mpsc::Sender<Arrival>,
    permit: OwnedSemaphorePermit,
) {
    let address = peer.address;
    match shake_hands(door, stream, &negotiator).await {
        // Nobody takes arrivals any more when the LanManager ends.
        Ok(Some(opened)) => drop(arrivals.send(Arrival { door, peer, opened }).await),
        Ok(None) => {}
        Err(error) => tracing::info!(%door, ?address, %error, "a peer was cut off"),
    }
    drop(permit);
}

async fn shake_hands(
    door: Door,
    stream: TcpStream,
    negotiator: &Negotiator,
) -> Result<Option<Opened<TcpStream>>, AcceptError> {
    match door.carrier() {
        CarrierKind::WebSocket => accept::web_socket(stream).await.map(Some),
        CarrierKind::SignalR => accept::signalr(stream, negotiator).await,
        CarrierKind::Socket | CarrierKind::Ipc => {
            // Frames are small and wait for one another.
            stream.set_nodelay(true).map_err(AcceptError::Io)?;
            Ok(Some(Opened::new(stream, Wire::length_prefixed())))
        }
    }
}
