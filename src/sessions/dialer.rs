//! Dialing: the LanManager, and children that open a socket of their own.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use allexmaster_protocol::framing::web_socket::SEED_BYTES;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::pump::{Delivery, Inbox, Opened};
use allexmaster_state::{Connection, Identity};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::descriptors::LAN;
use super::runtime::{Inner, Shared};
use crate::lan::dial::{self, Dialed, Reached};
use crate::node;
use crate::process;
use allexmaster_sessions::{ConnectionName, Input, Item};

/// How many texts may wait between the socket and the sessions; then the LanManager waits.
const MAX_TEXTS: usize = 1_024;

/// Dials the LanManager as the sessions want it.
pub(super) fn begin(shared: &Arc<Shared>, inner: &mut Inner) {
    if let Some(before) = inner.dial.take() {
        before.abort();
    }
    let Some(dialing) = inner.log.sessions().dialing() else {
        return;
    };
    let task = dial(Arc::clone(shared), dialing.connection, dialing.failures);
    inner.dial = Some(shared.runtime.spawn(task).abort_handle());
}

async fn dial(shared: Arc<Shared>, connection: Connection, failures: u32) {
    let name = ConnectionName(format!("{LAN}{connection}"));
    match dial::dial_any(&shared.config.accepted().config.lan_endpoints).await {
        Ok(Dialed { endpoint, reached }) => {
            info!(%endpoint, "connected to the LanManager");
            let mut seed = [0; SEED_BYTES];
            if let Err(error) = getrandom::fill(&mut seed) {
                // Masks that could be guessed harm nobody on a connection without intermediaries.
                warn!(%error, "the system gives no randomness");
            }
            let dialed = Input::Dialed {
                name: name.clone(),
                connection,
                endpoint,
                seed,
            };
            match reached {
                Reached::Plain(stream) => take_bytes(&shared, &name, connection, stream, dialed),
                Reached::Encrypted(stream) => {
                    let (inbox, deliveries) = Inbox::alone(MAX_TEXTS);
                    let outgoing = Opened::new(*stream, Wire::web_socket_client(seed)).start(inbox);
                    let carried = outgoing.clone();
                    shared.lock().carried.insert(name.clone(), outgoing);
                    shared.enter(dialed);
                    let task = carry_texts(Arc::clone(&shared), name, deliveries);
                    shared.runtime.spawn(async move {
                        task.await;
                        drop(carried);
                    });
                }
            }
        }
        Err(reason) => {
            // One line for the first failure in a row, not one for each attempt.
            if failures == 0 {
                warn!(
                    reason,
                    "the LanManager cannot be reached; trying again until it can"
                );
            }
            shared.enter(Input::DialFailed { connection, reason });
        }
    }
}

fn take_bytes(
    shared: &Arc<Shared>,
    name: &ConnectionName,
    connection: Connection,
    stream: tokio::net::TcpStream,
    dialed: Input,
) {
    let opened = stream.into_std().map(OwnedFd::from).and_then(|socket| {
        shared.keep(name, &socket);
        shared.open_connection(name, socket, dialed)
    });
    if let Err(error) = opened {
        shared.forget(name);
        let reason = error.to_string();
        shared.enter(Input::DialFailed { connection, reason });
    }
}

/// Hands in what an encrypted connection delivers.
async fn carry_texts(
    shared: Arc<Shared>,
    name: ConnectionName,
    mut deliveries: mpsc::Receiver<Delivery>,
) {
    while let Some(delivery) = deliveries.recv().await {
        let name = name.clone();
        shared.enter(match delivery.item {
            WireItem::Text(text) => Input::Carried {
                name,
                item: Item::Text(text),
            },
            WireItem::Alive => Input::Carried {
                name,
                item: Item::Alive,
            },
            WireItem::Closed(reason) => Input::Ended { name, reason },
        });
    }
}

/// Dials the socket that a child will open; none where the child ends before.
pub(super) async fn dial_child(folder: &Path, identity: &Identity) -> Option<OwnedFd> {
    let socket = node::child_socket(folder, identity.pid);
    let lives = || process::exists(&identity.boot, identity);
    let stream = node::dial(&socket, identity.pid, lives).await?;
    Some(OwnedFd::from(stream))
}
