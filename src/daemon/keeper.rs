//! The engine's connection to its keeper: what is stored there, and what its messages cause.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use super::put_back::{Listeners, accept};
use super::stops::{Stops, interrupt_source};
use super::{Place, Running};
use crate::local::sockets::Listener;
use crate::sessions::{self, DescriptorStore, Inherited};
use crate::status::totals;
use allexmaster_keeper::link::{
    FromKeeper, Inheritance, KeeperLink, LinkError, Messages, StopSignal,
};
use allexmaster_sessions::ConnectionName;
use allexmaster_state::State;
use allexmaster_state::StopSource;

#[derive(Debug)]
pub(super) struct KeeperConnection {
    pub(super) link: KeeperLink,
    messages: Messages,
}

impl KeeperConnection {
    /// Starts the link; also returns what the engine has by its keeper.
    ///
    /// # Errors
    /// The system has no room for two more registrations.
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

    /// Reports that the engine serves, and handles the keeper's messages until the keeper ends.
    pub(super) async fn serve(self, mut running: Served) {
        let Self { link, mut messages } = self;
        let looks = running.stops.inbox.clone();
        warn_unsent(link.stop_grace(running.sessions.stop_grace()));
        warn_unsent(link.ready());
        let (told, mut last) = (link.clone(), String::new());
        let (sessions, mut grace) = (running.sessions.clone(), running.sessions.stop_grace());
        let proof = async move || {
            // By whichever way it was changed.
            if sessions.stop_grace() != grace {
                grace = sessions.stop_grace();
                warn_unsent(told.stop_grace(grace));
            }
            // After the end of the loop nothing is sent, and nothing needs to be.
            if let Ok(totals) = looks.look(in_short).await
                && totals != last
            {
                warn_unsent(told.status(&totals));
                last = totals;
            }
        };
        let alive = tokio::spawn(link.clone().keep_alive(proof));
        loop {
            match messages.next().await {
                FromKeeper::Accepted { name, connection } => {
                    running.sessions.take_in(ConnectionName(name), connection);
                }
                // The task that watches the child sees its end.
                FromKeeper::Exited(_) => {}
                FromKeeper::Signal(signal) => {
                    let (name, source) = match signal {
                        StopSignal::Terminate => ("SIGTERM", StopSource::Signal),
                        StopSignal::Interrupt => ("SIGINT", interrupt_source()),
                    };
                    running.stops.signal(name, source).await;
                }
                FromKeeper::Reload => {
                    let (link, sessions) = (link.clone(), running.sessions.clone());
                    tokio::spawn(async move {
                        warn_unsent(link.reloading());
                        sessions.reload().await;
                        warn_unsent(link.ready());
                    });
                }
                FromKeeper::Gone => {
                    warn!("the keeper was killed: this process is the master by itself now");
                    break;
                }
            }
        }
        alive.abort();
        for listener in running.listeners.lock().iter() {
            if let Err(error) = accept(listener, &running.sessions, None) {
                warn!(path = %listener.path().display(), %error, "nobody can connect to this socket any more");
            }
        }
    }
}

/// The services in one line, for a service manager.
fn in_short(state: &State) -> String {
    let services = state.service_statuses();
    totals(services.map(|service| (service.instance.to_string(), service.state)))
}

/// The parts of a running master that the keeper's messages act on.
pub(super) struct Served {
    stops: Stops,
    sessions: sessions::Runtime,
    listeners: Listeners,
}

impl Served {
    pub(super) fn of(running: &Running) -> Self {
        Self {
            stops: Stops::of(running),
            sessions: running.sessions.clone(),
            listeners: running.listeners.clone(),
        }
    }
}

/// The name that a listener is stored under.
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
        warn_unsent(self.0.store(name, descriptors));
    }

    fn accept(&self, name: &str, listener: BorrowedFd<'_>) {
        warn_unsent(self.0.store_listener(name, listener));
    }

    fn next_engine(&self, program: &Path) -> Result<(), String> {
        self.0
            .next_engine(program)
            .map_err(|error| error.to_string())
    }

    fn forget(&self, name: &str) {
        warn_unsent(self.0.remove(name));
    }
}

/// Logs a failed message to the keeper: what it did not get is lost if the engine is killed.
pub(super) fn warn_unsent(result: Result<(), LinkError>) {
    if let Err(error) = result {
        warn!(%error, "the keeper does not know everything");
    }
}
