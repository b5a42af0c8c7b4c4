//! The descriptors that are kept.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::name::Name;

/// The most descriptors that are kept: a thousand services with a session, a channel and room for
/// tools take a fifth of it.
pub(super) const DESCRIPTORS_MOST: usize = 16_384;
/// How many descriptors the keeper needs beside the kept ones (a dozen), and those that just come in
/// with a message (253, Linux' `SCM_MAX_FD`).
const DESCRIPTORS_APART: u64 = 300;

/// Descriptors by their names; several may have the same one.
#[derive(Debug)]
pub(super) struct Store {
    kept: BTreeMap<Name, Vec<OwnedFd>>,
    /// Those that the keeper accepts on; not in `kept`.
    listeners: Vec<(Name, OwnedFd)>,
    count: usize,
    most: usize,
    connections: u64,
}

impl Store {
    /// An empty store for a process that may have so many descriptors open (`None`: any number).
    pub(super) fn new(open_most: Option<u64>) -> Self {
        let most = open_most.map_or(DESCRIPTORS_MOST, |limit| {
            let room = limit.saturating_sub(DESCRIPTORS_APART);
            usize::try_from(room).unwrap_or(usize::MAX)
        });
        Self {
            kept: BTreeMap::new(),
            listeners: Vec::new(),
            count: 0,
            most: most.min(DESCRIPTORS_MOST),
            connections: 0,
        }
    }

    /// How many more it can keep.
    pub(super) const fn room(&self) -> usize {
        self.most - self.count
    }

    /// Keeps descriptors; those for which there is no room are closed. False: there were such.
    pub(super) fn add(&mut self, name: &Name, accept: bool, descriptors: Vec<OwnedFd>) -> bool {
        let fits = descriptors.len() <= self.room();
        for descriptor in descriptors.into_iter().take(self.room()) {
            self.count += 1;
            if accept {
                self.listeners.push((name.clone(), descriptor));
            } else {
                self.kept.entry(name.clone()).or_default().push(descriptor);
            }
        }
        fits
    }

    /// Names a connection that came in at a listener; the number is never used again.
    pub(super) fn connection_name(&mut self, listener: &Name) -> Name {
        self.connections += 1;
        listener.of_connection(self.connections)
    }

    /// Closes all descriptors of a name.
    pub(super) fn remove(&mut self, name: &Name) {
        let before = self.listeners.len();
        self.listeners.retain(|(of, _)| of != name);
        let listeners = before - self.listeners.len();
        let kept = self.kept.remove(name).map_or(0, |kept| kept.len());
        self.count -= kept + listeners;
    }

    /// The listeners, in the order in which they were stored.
    pub(super) fn listeners(&self) -> &[(Name, OwnedFd)] {
        &self.listeners
    }

    /// All that is kept, listeners first.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, BorrowedFd<'_>)> {
        let listeners = self.listeners.iter().map(|(name, fd)| (name, fd.as_fd()));
        let kept = self.kept.iter();
        listeners.chain(kept.flat_map(|(name, fds)| fds.iter().map(move |fd| (name, fd.as_fd()))))
    }
}
