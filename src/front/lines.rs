//! How a line is taken up that the front has not known.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use allexmaster_state::{Identity, Incarnation, InstanceName};
use tracing::warn;

use super::carry::{self, Hold};
use super::driver::{Shared, channel_name};
use super::kept::{Kept, Pipe};
use allexmaster_sessions::{ChildWire, Input, LineName};

impl Shared {
    pub(super) fn open_child(
        self: &Arc<Self>,
        incarnation: Incarnation,
        instance: InstanceName,
        identity: Identity,
        wire: ChildWire,
        descriptor: OwnedFd,
    ) {
        let line = channel_name(incarnation);
        let opened = Input::ChannelOpened {
            line: line.clone(),
            incarnation,
            instance,
            identity,
            wire,
        };
        if let Err(error) = self.open_line(&line, descriptor, opened) {
            self.forget(&line);
            let reason = format!("its channel: {error}");
            self.enter(Input::ChildFailed {
                incarnation,
                reason,
            });
        }
    }

    pub(super) fn accepted(self: &Arc<Self>, line: LineName, socket: u32, descriptor: OwnedFd) {
        let own_user = rustix::process::getuid();
        let peer = rustix::net::sockopt::socket_peercred(&descriptor).ok();
        if let Some(peer) = peer
            && peer.uid != own_user
            && !peer.uid.is_root()
        {
            let user = peer.uid.as_raw();
            warn!(user, "a local connection of another user was refused");
            return self.forget(&line);
        }
        let opened = Input::Accepted {
            line: line.clone(),
            socket,
            process: peer.and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok()),
            user: peer.map(|peer| peer.uid.as_raw()),
        };
        if let Err(error) = self.open_line(&line, descriptor, opened) {
            warn!(%error, "a local connection could not be taken in");
            self.forget(&line);
        }
    }

    /// Takes up a line that the front has not known.
    pub(super) fn open_line(
        self: &Arc<Self>,
        line: &LineName,
        descriptor: OwnedFd,
        opened: Input,
    ) -> std::io::Result<()> {
        let pipe = match &self.store {
            Some(store) => {
                let pipe = Pipe::new()?;
                store.keep(&line.0, &pipe.ends());
                Some(pipe)
            }
            None => None,
        };
        let kept = Kept::new(descriptor, pipe)?;
        let hold = Arc::new(Hold::default());
        let entered = self.lock().holds.insert(line.clone(), Arc::clone(&hold));
        debug_assert!(entered.is_none(), "a line's name is used twice");
        self.enter(opened);
        self.serve(line, kept, hold);
        Ok(())
    }

    pub(super) fn serve(self: &Arc<Self>, line: &LineName, kept: Kept, hold: Arc<Hold>) {
        let task = carry::serve(Arc::clone(self), line.clone(), kept, hold);
        self.runtime.spawn(task);
    }
}
