//! Puts the socket files back that other programs removed, as a cleaner of `/tmp` does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::keeper::name_of;
use crate::local::sockets::Listener;
use crate::sessions::{DescriptorStore, Runtime};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The listeners of a master.
#[derive(Clone, Debug)]
pub(super) struct Listeners(Arc<Mutex<Vec<Listener>>>);

impl Listeners {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        Self(Arc::new(Mutex::new(listeners)))
    }

    /// No code panics while holding this lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens each listener whose file is gone again, for ever. Drop the future to end it.
    pub(super) async fn put_back(
        self,
        sessions: Runtime,
        store: Option<Arc<dyn DescriptorStore>>,
    ) -> std::convert::Infallible {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false; // that they cannot be put back: once, not at each look
        loop {
            looks.tick().await;
            for listener in self.lock().iter_mut().filter(|listener| listener.is_gone()) {
                let path = listener.path().to_owned();
                let opened = listener.reopen().and_then(|()| {
                    let accepted = accept(listener, &sessions, store.as_deref());
                    // Without its file it is opened again with the next look.
                    accepted.inspect_err(|_| drop(std::fs::remove_file(&path)))
                });
                match opened {
                    Ok(()) => {
                        warn!(path = %path.display(), "the socket was removed by another program; it was put back")
                    }
                    Err(error) if !told => {
                        told = true;
                        warn!(path = %path.display(), %error, "the socket is gone and cannot be put back; commands and tools do not find this master until it can");
                    }
                    Err(_) => {}
                }
            }
        }
    }
}

/// Has connections accepted on an open listener: by the keeper, or else by this process.
pub(super) fn accept(
    listener: &Listener,
    sessions: &Runtime,
    store: Option<&dyn DescriptorStore>,
) -> std::io::Result<()> {
    let name = name_of(listener);
    match store.filter(|store| store.is_there()) {
        Some(store) => {
            store.forget(&name);
            store.accept(&name, listener.descriptor());
        }
        None => {
            let descriptor = listener.descriptor().try_clone_to_owned()?;
            sessions.listen(name, descriptor);
        }
    }
    Ok(())
}
