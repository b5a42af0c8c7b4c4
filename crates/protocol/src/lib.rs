//! AllexJS on the wire: frames, sessions, state and data streams, both ends.
//!
//! # Theory of operation
//!
//! ```text
//!            bytes              texts             frames            events, requests
//!  socket ──────────► framing ─────────► frame ─────────► client ──────────────────► application
//!         ◄──────────         ◄─────────       ◄───────── server ◄──────────────────
//!            (pump, handshake: the modules with sockets,    │
//!             behind the feature "tokio")                   ├─ table, filter   rows to queries
//!                                                           ├─ mirror          events to rows
//!                                                           └─ state_stream    items to a tree
//! ```
//!
//! There is one message language, small JSON arrays called frames ([`frame`]), over several transports
//! that differ only in how they cut a byte stream into JSON texts ([`framing`]). A *session* is an
//! identifier that the server gives out when somebody introduces himself; calls are made in a session,
//! state and data flow back in its name, and many sessions share a connection. A session of a service
//! leads to sessions of its subservices by *reservation*: the parent session asks, the server reserves,
//! the client claims.
//!
//! Everything but `pump` and `handshake` is pure: bytes, texts and the time come in as arguments, and what is to
//! be sent or known is fetched. Nothing here blocks, sleeps, reads a clock, or panics on any input, and
//! everything that a peer can make grow has a limit with a name.
//!
//! # Both ends, without a socket
//!
//! ```
//! use allexmaster_protocol::client::{Client, ClientEvent, ClientOptions, address_credentials};
//! use allexmaster_protocol::close::CarrierKind;
//! use allexmaster_protocol::server::{Event, Grant, Output, Peer, Server, ServerOptions, ServiceId};
//! use serde_json::json;
//!
//! let now = 0; // Milliseconds of any clock that does not go back.
//! let mut server = Server::new(ServerOptions { identifier_prefix: "s".to_owned() });
//! let connection = server.open(now, CarrierKind::WebSocket, Peer::default())?;
//! let options = ClientOptions { carrier: CarrierKind::WebSocket, identifier_prefix: "m".to_owned() };
//! let mut client = Client::new(now, options);
//!
//! client.introduce(now, address_credentials("any_name", "user"));
//! while let Some(text) = client.poll_transmit() {
//!     server.receive(now, connection, &text);
//! }
//! while let Some(output) = server.poll_output() {
//!     match output {
//!         Output::Send { connection: _, text } => client.receive(now, &text),
//!         Output::Event(Event::Introduce { token, credentials, .. }) => {
//!             assert_eq!(credentials["ip"]["role"], "user");
//!             server.accept(now, token, Grant {
//!                 service: ServiceId(0),
//!                 modulename: "allex_lanmanagerservice".to_owned(),
//!                 role: "user".to_owned(),
//!                 name: json!("127.0.0.1"),
//!                 state: vec![],
//!                 table: None,
//!             });
//!         }
//!         Output::Event(_) | Output::Close { .. } => {}
//!     }
//! }
//! let Some(ClientEvent::Introduced { introduction, .. }) = client.poll_event() else {
//!     panic!("the server accepted the introduction");
//! };
//! assert_eq!(introduction.modulename, "allex_lanmanagerservice");
//! # Ok::<(), allexmaster_protocol::server::ServerFull>(())
//! ```

pub mod frame;

pub mod framing;

pub mod limits;

pub mod vocabulary;

pub mod state_stream;

pub mod filter;

pub mod table;

mod json_text;
pub mod mirror;
mod packed;

pub mod close;

pub mod client;

pub mod server;

#[cfg(feature = "tokio")]
pub mod handshake;
#[cfg(feature = "tokio")]
pub mod pump;
