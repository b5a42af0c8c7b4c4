//! An established connection as a machine: raw bytes in and out, texts in and out.
//!
//! ```text
//!   socket ──bytes──► receive ──► WireItem ──► application
//!   socket ◄─bytes── take_output ◄──── send ◄──┘
//! ```
//!
//! A [`Wire`] has no socket and no task. It can be serialized in the middle of a message, and with the
//! same inputs it makes the same bytes; so a program that was killed can resume a connection whose
//! socket another process kept open.

use serde::{Deserialize, Serialize};

use super::signalr::{
    encode_at_client, encode_at_server, handshake_answer, handshake_request, hub_ping,
};
use super::web_socket::{self, SEED_BYTES};
use super::{
    End, FramingError, MAX_QUEUED_BYTES, length_prefixed, newline_delimited, signalr, text_batch,
};
use crate::close::CloseReason;

/// What arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WireItem {
    /// The JSON text of one frame (or of what claims to be one).
    Text(String),
    /// A sign of life that carries no frame.
    Alive,
    /// The connection has ended. Nothing follows.
    Closed(CloseReason),
}

/// One end of an established connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wire {
    framing: Framing,
    #[serde(with = "serde_bytes")]
    output: Vec<u8>,
    closed: Option<CloseReason>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Framing {
    LengthPrefixed(length_prefixed::Decoder),
    /// As images of earlier versions name it.
    #[serde(rename = "Lines")]
    NewlineDelimited(newline_delimited::Decoder),
    WebSocket(WebSocket),
    SignalR(SignalR),
}

#[derive(Debug, Serialize, Deserialize)]
struct WebSocket {
    decoder: web_socket::Decoder,
    encoder: web_socket::Encoder,
}

#[derive(Debug, Serialize, Deserialize)]
struct SignalR {
    socket: WebSocket,
    decoder: signalr::Decoder,
    /// Texts sent before the handshake; none after it.
    waiting: Option<Waiting>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Waiting {
    texts: Vec<String>,
    bytes: usize,
}

impl Wire {
    /// A Unix or TCP socket, whichever side dialled.
    #[must_use]
    pub fn length_prefixed() -> Self {
        Self::new(Framing::LengthPrefixed(length_prefixed::Decoder::default()))
    }

    /// The IPC channel of a Node child.
    #[must_use]
    pub fn newline_delimited() -> Self {
        Self::new(Framing::NewlineDelimited(
            newline_delimited::Decoder::default(),
        ))
    }

    /// A plain WebSocket that this side has dialled, right behind the blank line of the handshake. The
    /// seed makes the masks: random, secret, and of this connection alone.
    #[must_use]
    pub fn web_socket_client(seed: [u8; SEED_BYTES]) -> Self {
        Self::new(Framing::WebSocket(WebSocket::client(seed)))
    }

    /// A plain WebSocket that this side has accepted, right behind the blank line of the handshake.
    #[must_use]
    pub fn web_socket_server() -> Self {
        Self::new(Framing::WebSocket(WebSocket::server()))
    }

    /// A SignalR connection that this side has dialled, right behind the blank line of the WebSocket's
    /// handshake; SignalR's own comes first from here. Its answer is the first [`WireItem::Alive`];
    /// what is sent before waits for it.
    #[must_use]
    pub fn signalr_client(seed: [u8; SEED_BYTES]) -> Self {
        let mut output = Vec::new();
        let mut socket = WebSocket::client(seed);
        socket.encoder.text(&handshake_request(), &mut output);
        Self {
            output,
            ..Self::new(Framing::SignalR(SignalR::new(socket, End::Client)))
        }
    }

    /// A SignalR connection that this side has accepted, right behind the blank line of the WebSocket's
    /// handshake. The request of SignalR's own is the first [`WireItem::Alive`] and is answered; what is
    /// sent before waits for it.
    #[must_use]
    pub fn signalr_server() -> Self {
        let socket = WebSocket::server();
        Self::new(Framing::SignalR(SignalR::new(socket, End::Server)))
    }

    /// Takes what arrived, and appends what it brought. The last item of a connection that ends by it
    /// is [`WireItem::Closed`]; send what [`Wire::take_output`] then gives, and close the socket.
    /// After an end nothing is taken any more.
    pub fn receive(&mut self, bytes: &[u8], incoming: &mut Vec<WireItem>) {
        if self.closed.is_some() {
            return;
        }
        let outcome = match &mut self.framing {
            Framing::LengthPrefixed(decoder) => {
                let outcome = decoder.feed(bytes);
                let texts = std::iter::from_fn(|| decoder.next_text());
                incoming.extend(texts.map(WireItem::Text));
                outcome.map_err(CloseReason::Framing)
            }
            Framing::NewlineDelimited(decoder) => {
                let outcome = decoder.feed(bytes);
                let texts = std::iter::from_fn(|| decoder.next_text());
                incoming.extend(texts.map(WireItem::Text));
                outcome.map_err(CloseReason::Framing)
            }
            Framing::WebSocket(socket) => socket.receive(bytes, &mut self.output, incoming),
            Framing::SignalR(signalr) => signalr.receive(bytes, &mut self.output, incoming),
        };
        if let Err(reason) = outcome {
            self.end(reason, incoming);
        } else if let Err(reason) = check_queue(self.output.len()) {
            // Answers to pings fill it too.
            self.output = Vec::new();
            self.end(reason, incoming);
        }
    }

    /// Takes the news that no bytes will follow: the peer has closed its half.
    pub fn receive_end(&mut self, incoming: &mut Vec<WireItem>) {
        if self.closed.is_some() {
            return;
        }
        let inside_message = match &self.framing {
            Framing::LengthPrefixed(decoder) => decoder.is_inside_message(),
            Framing::NewlineDelimited(decoder) => decoder.is_inside_message(),
            // A WebSocket that ends without a close is a peer that was killed, wherever it was.
            Framing::WebSocket(_) | Framing::SignalR(_) => false,
        };
        let reason = if inside_message {
            CloseReason::HalfMessage
        } else {
            CloseReason::ByPeer
        };
        self.end(reason, incoming);
    }

    /// Encodes a text behind what waits already.
    ///
    /// # Errors
    /// The reason with which the connection has ended; it may have ended by this:
    /// [`CloseReason::SlowPeer`] at [`MAX_QUEUED_BYTES`].
    pub fn send(&mut self, text: &str) -> Result<(), CloseReason> {
        self.send_behind(0, text)
    }

    /// Like [`Wire::send`], where so many bytes were taken that the socket has not taken yet: they count
    /// too.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub fn send_behind(&mut self, in_flight: usize, text: &str) -> Result<(), CloseReason> {
        if let Some(reason) = &self.closed {
            return Err(reason.clone());
        }
        let queued = self.queued_bytes().saturating_add(in_flight);
        let queued = queued.saturating_add(text.len());
        if let Err(reason) = check_queue(queued) {
            self.output = Vec::new();
            self.closed = Some(reason.clone());
            return Err(reason);
        }
        match &mut self.framing {
            Framing::LengthPrefixed(_) => length_prefixed::encode(text, &mut self.output),
            Framing::NewlineDelimited(_) => newline_delimited::encode(text, &mut self.output),
            Framing::WebSocket(socket) => socket.encoder.text(text, &mut self.output),
            Framing::SignalR(signalr) => signalr.send(text, &mut self.output),
        }
        Ok(())
    }

    /// The bytes to write to the socket next; empty when there are none.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Whether [`Wire::take_output`] has something to give.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// How many bytes have been sent but not taken.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let waiting = match &self.framing {
            Framing::SignalR(signalr) => {
                signalr.waiting.as_ref().map_or(0, |waiting| waiting.bytes)
            }
            Framing::LengthPrefixed(_) | Framing::NewlineDelimited(_) | Framing::WebSocket(_) => 0,
        };
        self.output.len().saturating_add(waiting)
    }

    /// Closes this side: write what [`Wire::take_output`] still gives, then close the socket. Nothing
    /// is received afterwards, and no [`WireItem::Closed`] either: who closes knows it.
    pub fn close(&mut self) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(CloseReason::ByUs);
        match &mut self.framing {
            Framing::WebSocket(socket) | Framing::SignalR(SignalR { socket, .. }) => {
                socket.encoder.close(&[], &mut self.output);
            }
            Framing::LengthPrefixed(_) | Framing::NewlineDelimited(_) => {}
        }
    }

    /// Ends the connection with a reason from outside, such as an error of its socket, if it has not
    /// ended before. Gives the reason that holds.
    pub fn fail(&mut self, reason: CloseReason) -> CloseReason {
        self.closed.get_or_insert(reason).clone()
    }

    /// Whether texts are exchanged: at once, but for SignalR, whose handshake comes first.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.framing {
            Framing::SignalR(signalr) => signalr.waiting.is_none(),
            Framing::LengthPrefixed(_) | Framing::NewlineDelimited(_) | Framing::WebSocket(_) => {
                true
            }
        }
    }

    /// Why the connection has ended; none while it has not.
    #[must_use]
    pub fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    fn new(framing: Framing) -> Self {
        Self {
            framing,
            output: Vec::new(),
            closed: None,
        }
    }

    fn end(&mut self, reason: CloseReason, incoming: &mut Vec<WireItem>) {
        self.closed = Some(reason.clone());
        incoming.push(WireItem::Closed(reason));
    }
}

/// What a WebSocket brings besides its own affairs.
enum Message {
    Text(String),
    Alive,
}

impl WebSocket {
    fn client(seed: [u8; SEED_BYTES]) -> Self {
        Self {
            decoder: web_socket::Decoder::new(End::Client),
            encoder: web_socket::Encoder::client(seed),
        }
    }

    fn server() -> Self {
        Self {
            decoder: web_socket::Decoder::new(End::Server),
            encoder: web_socket::Encoder::server(),
        }
    }

    /// A text message is a batch of texts.
    fn receive(
        &mut self,
        bytes: &[u8],
        output: &mut Vec<u8>,
        incoming: &mut Vec<WireItem>,
    ) -> Result<(), CloseReason> {
        let outcome = self.decoder.feed(bytes);
        while let Some(message) = self.next_message(output)? {
            match message {
                Message::Text(batch) => {
                    incoming.extend(text_batch::split(&batch)?.into_iter().map(WireItem::Text));
                }
                Message::Alive => incoming.push(WireItem::Alive),
            }
        }
        outcome.map_err(CloseReason::Framing)
    }

    fn next_message(&mut self, output: &mut Vec<u8>) -> Result<Option<Message>, CloseReason> {
        match self.decoder.next_received() {
            None => Ok(None),
            Some(web_socket::Received::Text(text)) => Ok(Some(Message::Text(text))),
            Some(web_socket::Received::Ping(payload)) => {
                self.encoder.pong(&payload, output);
                Ok(Some(Message::Alive))
            }
            Some(web_socket::Received::Pong) => Ok(Some(Message::Alive)),
            Some(web_socket::Received::Close(answer)) => {
                self.encoder.close(&answer, output);
                Err(CloseReason::ByPeer)
            }
        }
    }
}

impl SignalR {
    fn new(socket: WebSocket, end: End) -> Self {
        Self {
            socket,
            decoder: signalr::Decoder::new(end),
            waiting: Some(Waiting::default()),
        }
    }

    /// A text message holds whole records.
    fn receive(
        &mut self,
        bytes: &[u8],
        output: &mut Vec<u8>,
        incoming: &mut Vec<WireItem>,
    ) -> Result<(), CloseReason> {
        let outcome = self.socket.decoder.feed(bytes);
        while let Some(message) = self.socket.next_message(output)? {
            match message {
                Message::Text(records) => self.take_records(&records, output, incoming)?,
                Message::Alive => incoming.push(WireItem::Alive),
            }
        }
        outcome.map_err(CloseReason::Framing)
    }

    fn take_records(
        &mut self,
        records: &str,
        output: &mut Vec<u8>,
        incoming: &mut Vec<WireItem>,
    ) -> Result<(), CloseReason> {
        match self.decoder.feed(records) {
            Ok(()) => {}
            Err(FramingError::ClosedByPeer { reason: None }) => return Err(CloseReason::ByPeer),
            Err(error) => return Err(CloseReason::Framing(error)),
        }
        while let Some(received) = self.decoder.next_received() {
            incoming.push(match received {
                signalr::Received::Text(text) => WireItem::Text(text),
                signalr::Received::Alive => WireItem::Alive,
                signalr::Received::Handshake => {
                    self.begin(output);
                    WireItem::Alive
                }
            });
        }
        Ok(())
    }

    /// The handshake has come: a server answers it, a client gives a first sign of life, as the
    /// JavaScript client does. Then what has waited is sent.
    fn begin(&mut self, output: &mut Vec<u8>) {
        let first = match self.decoder.end() {
            End::Client => hub_ping(),
            End::Server => handshake_answer(),
        };
        self.socket.encoder.text(&first, output);
        for text in self.waiting.take().unwrap_or_default().texts {
            self.send(&text, output);
        }
    }

    fn send(&mut self, text: &str, output: &mut Vec<u8>) {
        if let Some(waiting) = &mut self.waiting {
            waiting.bytes = waiting.bytes.saturating_add(text.len());
            waiting.texts.push(text.to_owned());
            return;
        }
        let message = match self.decoder.end() {
            End::Client => encode_at_client(text),
            End::Server => encode_at_server(text),
        };
        self.socket.encoder.text(&message, output);
    }
}

fn check_queue(queued: usize) -> Result<(), CloseReason> {
    if queued > MAX_QUEUED_BYTES {
        return Err(CloseReason::SlowPeer {
            queued,
            limit: MAX_QUEUED_BYTES,
        });
    }
    Ok(())
}
