//! An engine and its keeper: what the one keeps for the other, and what it tells it.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use super::stops::Stops;
use super::{Place, Running};
use crate::local::sockets::Listener;
use crate::sessions::{self, DescriptorStore, Inherited};
use allexmaster_keeper::link::{
    FromKeeper, Inheritance, KeeperLink, LinkError, Messages, StopSignal,
};
use allexmaster_sessions::ConnectionName;

/// An engine's way to its keeper.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) link: KeeperLink,
    messages: Messages,
}

impl Engine {
    /// Begins to talk with the keeper; gives the place that the keeper has made for the engine.
    ///
    /// # Errors
    /// The system has no room for two further watches.
    pub(super) fn start(inheritance: Inheritance) -> std::io::Result<(Self, Place)> {
        let (link, messages, kept) = KeeperLink::start(inheritance)?;
        let mut inherited = Inherited::new();
        for (name, descriptor) in kept {
            inherited.entry(name).or_default().push(descriptor);
        }
        let place = Place {
            pid: link.keeper(),
            store: Some(Arc::new(KeptByKeeper(link.clone()))),
            keeper: Some(link.clone()),
            inherited,
        };
        Ok((Self { link, messages }, place))
    }

    /// Tells the keeper that the engine serves, and does what the keeper tells, as long as it runs.
    pub(super) async fn serve(self, mut running: Served) {
        let Self { link, mut messages } = self;
        let looks = running.stops.inbox.clone();
        told(link.ready());
        let proof = async move || {
            // A loop that has ended gives no more signs of life, and needs none.
            let _ = looks.look(|_| ()).await;
        };
        let alive = tokio::spawn(link.keep_alive(proof));
        loop {
            match messages.next().await {
                FromKeeper::Accepted { name, connection } => {
                    running.sessions.take_in(ConnectionName(name), connection);
                }
                // Whoever watches a child sees its end there.
                FromKeeper::Exited(_) => {}
                FromKeeper::Signal(signal) => {
                    let name = match signal {
                        StopSignal::Terminate => "SIGTERM",
                        StopSignal::Interrupt => "SIGINT",
                        StopSignal::HangUp => "SIGHUP",
                    };
                    running.stops.signal(name).await;
                }
                FromKeeper::Gone => {
                    warn!("the keeper was killed: this process is the master by itself now");
                    break;
                }
            }
        }
        alive.abort();
        for (name, listener) in running.listeners {
            running.sessions.listen(name, listener);
        }
    }
}

/// What of a master that runs its keeper has to do with.
pub(super) struct Served {
    stops: Stops,
    sessions: sessions::Runtime,
    listeners: Vec<(String, std::os::fd::OwnedFd)>,
}

impl Served {
    /// # Errors
    /// The system has no further descriptors.
    pub(super) fn of(running: &Running) -> std::io::Result<Self> {
        let listeners = running.listeners.iter().map(|listener| {
            let descriptor = listener.descriptor().try_clone_to_owned()?;
            Ok((name_of(listener), descriptor))
        });
        Ok(Self {
            stops: Stops::of(running),
            sessions: running.sessions.clone(),
            listeners: listeners.collect::<std::io::Result<_>>()?,
        })
    }
}

/// The name that a listener is kept under.
pub(super) fn name_of(listener: &Listener) -> String {
    sessions::listener_name(listener.socket.number(), listener.name.number())
}

/// The keeper, as the sessions sees it.
struct KeptByKeeper(KeeperLink);

impl DescriptorStore for KeptByKeeper {
    fn is_there(&self) -> bool {
        !self.0.is_gone()
    }

    fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]) {
        told(self.0.store(name, descriptors));
    }

    fn accept(&self, name: &str, listener: BorrowedFd<'_>) {
        told(self.0.store_listener(name, listener));
    }

    fn next_engine(&self, program: &Path) -> Result<(), String> {
        let told = self.0.next_engine(program);
        told.map_err(|error| error.to_string())
    }

    fn forget(&self, name: &str) {
        told(self.0.remove(name));
    }
}

/// What the keeper could not be told is told to people: a killed engine would lose it.
pub(super) fn told(result: Result<(), LinkError>) {
    if let Err(error) = result {
        warn!(%error, "the keeper does not know everything");
    }
}
