//! How a connection is taken up that the sessions have not known.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use allexmaster_keeper::os;
use allexmaster_state::{Identity, Incarnation, InstanceName};
use tracing::warn;

use super::pump::{self, PumpHandle};
use super::runtime::{Shared, channel_name};
use super::socket::{Pipe, ResumableSocket};
use allexmaster_sessions::{ChildWire, ConnectionName, Input};

impl Shared {
    pub(super) fn open_child(
        self: &Arc<Self>,
        incarnation: Incarnation,
        instance: InstanceName,
        identity: Identity,
        wire: ChildWire,
        descriptor: OwnedFd,
    ) {
        let name = channel_name(incarnation);
        let opened = Input::ChannelOpened {
            name: name.clone(),
            incarnation,
            instance,
            identity,
            wire,
        };
        if let Err(error) = self.open_connection(&name, descriptor, opened) {
            self.forget(&name);
            let reason = format!("its channel: {error}");
            self.enter(Input::ChildFailed {
                incarnation,
                reason,
            });
        }
    }

    pub(super) fn accepted(
        self: &Arc<Self>,
        name: ConnectionName,
        socket: u32,
        descriptor: OwnedFd,
    ) {
        let peer = os::peer(&descriptor).ok();
        if let Some(peer) = peer
            && !peer.is_trusted()
        {
            let user = peer.user;
            warn!(user, "a local connection of another user was refused");
            return self.forget(&name);
        }
        let opened = Input::Accepted {
            name: name.clone(),
            socket,
            process: peer.map(|peer| peer.pid),
            user: peer.map(|peer| peer.user),
            user_name: peer.and_then(|peer| os::user_name(peer.user)),
        };
        if let Err(error) = self.open_connection(&name, descriptor, opened) {
            warn!(%error, "a local connection could not be taken in");
            self.forget(&name);
        }
    }

    /// Takes up a connection that the sessions have not known.
    pub(super) fn open_connection(
        self: &Arc<Self>,
        name: &ConnectionName,
        descriptor: OwnedFd,
        opened: Input,
    ) -> std::io::Result<()> {
        let pipe = match &self.store {
            Some(store) => {
                let pipe = Pipe::new()?;
                store.keep(&name.0, &pipe.ends());
                Some(pipe)
            }
            None => None,
        };
        let socket = ResumableSocket::new(descriptor, pipe)?;
        let pump = Arc::new(PumpHandle::default());
        let entered = self.lock().pumps.insert(name.clone(), Arc::clone(&pump));
        debug_assert!(entered.is_none(), "a connection's name is used twice");
        self.enter(opened);
        self.serve(name, socket, pump);
        Ok(())
    }

    pub(super) fn serve(
        self: &Arc<Self>,
        name: &ConnectionName,
        socket: ResumableSocket,
        pump: Arc<PumpHandle>,
    ) {
        let task = pump::serve(Arc::clone(self), name.clone(), socket, pump);
        self.runtime.spawn(task);
    }
}
