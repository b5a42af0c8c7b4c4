//! The listeners: which ports, how they are bound, and what they accept.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use allexmaster_protocol::close::CarrierKind;
use allexmaster_protocol::framing::wire::Wire;
use allexmaster_protocol::handshake::accept::{self, AcceptError, Negotiator};
use allexmaster_protocol::handshake::web::WebRefusal;
use allexmaster_protocol::pump::Opened;
use allexmaster_protocol::server::Peer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::StartError;
use super::guests::{Guest, Guests};

/// Most connections of one listener that have not shaken hands yet; each address has a
/// share of it. Whoever comes beyond it is turned away at once, so that peers that say
/// nothing cannot make others wait.
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
    pub(super) guest: Guest,
    pub(super) opened: Opened<TcpStream>,
}

/// Accepts until the receiver is dropped. Who may not come in is turned away before anything
/// is read or kept of him. Handshakes run concurrently.
pub(super) async fn accept_all(
    bound: BoundDoor,
    guests: Arc<Guests>,
    arrivals: mpsc::Sender<Arrival>,
) {
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
        let address = address.ip().to_canonical();
        // A peer that has gone already has no end to ask for.
        let Ok(own) = stream.local_addr() else {
            continue;
        };
        let guest = match guests.admit(address, own.ip()) {
            Ok(guest) => guest,
            Err(reason) => {
                if guests.may_tell(address) {
                    tracing::warn!(%door, %address, %reason, "a peer was turned away");
                }
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            if guests.may_tell(address) {
                tracing::warn!(%door, %address, "a peer was turned away: too many do not finish their handshake");
            }
            continue;
        };
        let welcome = Welcome {
            door,
            guest,
            guests: Arc::clone(&guests),
            negotiator: Arc::clone(&negotiator),
            arrivals: arrivals.clone(),
            _permit: permit,
        };
        handshakes.spawn(welcome.shake_hands(stream));
    }
}

/// The handshake with one peer.
struct Welcome {
    door: Door,
    guest: Guest,
    guests: Arc<Guests>,
    negotiator: Arc<Negotiator>,
    arrivals: mpsc::Sender<Arrival>,
    _permit: OwnedSemaphorePermit,
}

impl Welcome {
    /// Does the handshake and announces the connection.
    async fn shake_hands(mut self, stream: TcpStream) {
        let door = self.door;
        match self.open(stream).await {
            Ok(Some(opened)) => {
                self.guest.shook_hands();
                let peer = Peer {
                    listener: door.number(),
                    address: Some(self.guest.address),
                    ..Peer::default()
                };
                let arrival = Arrival {
                    door,
                    peer,
                    guest: self.guest,
                    opened,
                };
                // Nobody takes arrivals any more when the LanManager ends.
                drop(self.arrivals.send(arrival).await);
            }
            Ok(None) => {}
            Err(error) => {
                if self.guest.may_tell() {
                    let remedy = remedy(&error);
                    let error: &dyn std::error::Error = &error;
                    tracing::info!(%door, address = %self.guest.address, error, remedy, "a peer was cut off");
                }
            }
        }
    }

    async fn open(&self, stream: TcpStream) -> Result<Option<Opened<TcpStream>>, AcceptError> {
        let web = &self.guests.web;
        match self.door.carrier() {
            CarrierKind::WebSocket => accept::web_socket(stream, web).await.map(Some),
            CarrierKind::SignalR => accept::signalr(stream, web, &self.negotiator).await,
            CarrierKind::Socket | CarrierKind::Ipc => {
                // Frames are small and wait for one another.
                stream.set_nodelay(true).map_err(AcceptError::Io)?;
                Ok(Some(Opened::new(stream, Wire::length_prefixed())))
            }
        }
    }
}

/// What lets a peer in that was refused, where something does.
fn remedy(error: &AcceptError) -> Option<&'static str> {
    match error {
        AcceptError::Forbidden(WebRefusal::Origin(_)) => {
            Some("if the page is yours, list it in \"allowedorigins\" of .allexlanmanager/boot")
        }
        AcceptError::Forbidden(WebRefusal::Host(_)) => Some(
            "if the name is this machine's, list it in \"allowedhosts\" of .allexlanmanager/boot",
        ),
        AcceptError::Http(_)
        | AcceptError::NoUpgrade
        | AcceptError::Io(_)
        | AcceptError::Handshake(_)
        | AcceptError::TimedOut { .. } => None,
    }
}
