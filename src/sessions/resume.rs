//! What an engine does with the connections of the one before it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use allexmaster_protocol::close::CloseReason;
use tracing::error;

use super::descriptors::{CHANNEL, Inherited, generation_of};
use super::pump::{Connection, PumpHandle};
use super::runtime::Shared;
use super::session_log::SessionLog;
use super::socket::{Pipe, ResumableSocket};
use super::{accept, dialer, status_queries, upgrade};
use allexmaster_sessions::transfer::reconcile;
use allexmaster_sessions::{ConnectionName, Input, Progress, Sessions};

/// Sessions that were made again from their log.
#[derive(Debug)]
pub struct Restored {
    pub(super) log: SessionLog,
    /// The number of that log.
    pub(super) generation: u64,
}

/// Makes the sessions again whose log was given back; none where there was none, or of no use.
#[must_use]
pub fn restore(inherited: &mut Inherited) -> Option<Restored> {
    // The names stay: the runtime has the keeper forget every log but its own, and numbers that on.
    let logs = inherited.iter_mut();
    let (generation, descriptors) = logs
        .filter_map(|(name, descriptors)| Some((generation_of(name)?, std::mem::take(descriptors))))
        .max_by_key(|(generation, _)| *generation)?;
    match SessionLog::open(descriptors.into_iter().next()?) {
        Ok(log) => Some(Restored { log, generation }),
        Err(reason) => {
            error!(%reason, "the connections of the engine before cannot be taken up");
            None
        }
    }
}

impl Restored {
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        self.log.sessions()
    }
}

impl Shared {
    /// Takes up what was given back: the connections that the sessions know, and those that they do not.
    pub(super) fn attach(self: &Arc<Self>, mut inherited: Inherited, is_restored: bool) {
        let (connections, queries, dialing) = {
            let inner = self.lock();
            let sessions = inner.log.sessions();
            (
                sessions.connections(),
                sessions.queries(),
                sessions.dialing(),
            )
        };
        for (name, progress) in connections {
            let mut descriptors = inherited.remove(&name.0).unwrap_or_default().into_iter();
            let ends = |descriptors: &mut std::vec::IntoIter<OwnedFd>| {
                descriptors.next().zip(descriptors.next())
            };
            let attached = descriptors.next().map(|socket| {
                self.attach_connection(&name, socket, ends(&mut descriptors), progress)
            });
            match attached {
                Some(Ok(socket)) => {
                    let pump = Arc::new(PumpHandle::default());
                    self.lock().pumps.insert(name.clone(), Arc::clone(&pump));
                    self.serve(&name, socket, pump);
                }
                Some(Err(error)) => {
                    self.forget(&name);
                    let reason = CloseReason::Io {
                        reason: error.to_string(),
                    };
                    self.enter(Input::Ended { name, reason });
                }
                // One that nobody keeps (TLS), or that was never kept.
                None => {
                    let reason = CloseReason::ByUs;
                    self.enter(Input::Ended { name, reason });
                }
            }
        }
        for (name, descriptors) in inherited {
            self.take_up(ConnectionName(name), descriptors, is_restored);
        }
        upgrade::end(self);
        for (request, asked) in queries {
            status_queries::answer(self, request, asked);
        }
        if dialing.is_some() {
            dialer::begin(self, &mut self.lock());
        }
        self.emit.notify_one();
    }

    /// Takes up a connection, and settles what was under way.
    fn attach_connection(
        self: &Arc<Self>,
        name: &ConnectionName,
        socket: OwnedFd,
        ends: Option<(OwnedFd, OwnedFd)>,
        progress: Progress,
    ) -> std::io::Result<ResumableSocket> {
        let pipe = match ends {
            Some((from, to)) => Pipe::of(from, to),
            None => {
                // The engine before was killed between the socket and its pipe.
                let pipe = Pipe::new()?;
                if let Some(store) = &self.store {
                    store.keep(&name.0, &pipe.ends());
                }
                pipe
            }
        };
        let socket = ResumableSocket::new(socket, Some(pipe))?;
        let mut connection = Connection {
            shared: self,
            name,
            socket: &socket,
        };
        reconcile(&mut connection, progress)?;
        Ok(socket)
    }

    /// Takes up descriptors that the sessions do not know.
    fn take_up(
        self: &Arc<Self>,
        name: ConnectionName,
        descriptors: Vec<OwnedFd>,
        is_restored: bool,
    ) {
        if self
            .lock()
            .generation
            .is_some_and(|own| generation_of(&name.0) == Some(own))
        {
            return;
        }
        let first = descriptors.into_iter().next();
        match (accept::socket_of(&name), first) {
            // Accepted while no engine ran. Where the sessions are lost, so is what was said before.
            (Some(socket), Some(descriptor)) if is_restored => {
                self.accepted(name, socket, descriptor);
            }
            (None, Some(descriptor)) if is_restored && name.0.starts_with(CHANNEL) => {
                self.lock().spare.insert(name, descriptor);
            }
            (_, _) => self.forget(&name),
        }
    }
}
