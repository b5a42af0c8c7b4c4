//! The descriptors that the keeper stores.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::name::DescriptorName;

/// Maximum number of stored descriptors: a thousand services with a session, a channel and tools take a
/// fifth of it.
pub(super) const MAX_DESCRIPTORS: usize = 16_384;
/// Descriptors that the keeper needs besides the stored ones (a dozen), and those of one incoming
/// message (253, Linux' `SCM_MAX_FD`).
const RESERVED_DESCRIPTORS: u64 = 300;

/// Descriptors by their names; several may have the same one.
#[derive(Debug)]
pub(super) struct DescriptorStore {
    kept: BTreeMap<DescriptorName, Vec<OwnedFd>>,
    /// The keeper accepts on these; they are not in `kept`.
    listeners: Vec<(DescriptorName, OwnedFd)>,
    count: usize,
    max: usize,
    connections: u64,
}

impl DescriptorStore {
    /// An empty store for a process with this limit of open descriptors (`None`: no limit).
    pub(super) fn new(max_open: Option<u64>) -> Self {
        let max = max_open.map_or(MAX_DESCRIPTORS, |limit| {
            let room = limit.saturating_sub(RESERVED_DESCRIPTORS);
            usize::try_from(room).unwrap_or(usize::MAX)
        });
        Self {
            kept: BTreeMap::new(),
            listeners: Vec::new(),
            count: 0,
            max: max.min(MAX_DESCRIPTORS),
            connections: 0,
        }
    }

    /// How many more fit.
    pub(super) const fn room(&self) -> usize {
        self.max - self.count
    }

    /// Stores descriptors; those without room are closed. False if there were any.
    pub(super) fn add(
        &mut self,
        name: &DescriptorName,
        accept: bool,
        descriptors: Vec<OwnedFd>,
    ) -> bool {
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

    /// A name for a connection that was accepted on a listener; its number is never used again.
    pub(super) fn connection_name(&mut self, listener: &DescriptorName) -> DescriptorName {
        self.connections += 1;
        listener.of_connection(self.connections)
    }

    /// Closes all descriptors of a name.
    pub(super) fn remove(&mut self, name: &DescriptorName) {
        let before = self.listeners.len();
        self.listeners.retain(|(of, _)| of != name);
        let listeners = before - self.listeners.len();
        let kept = self.kept.remove(name).map_or(0, |kept| kept.len());
        self.count -= kept + listeners;
    }

    /// The listeners, in the order in which they were stored.
    pub(super) fn listeners(&self) -> &[(DescriptorName, OwnedFd)] {
        &self.listeners
    }

    /// All stored descriptors, listeners first.
    pub(super) fn all(&self) -> impl Iterator<Item = (&DescriptorName, BorrowedFd<'_>)> {
        let listeners = self.listeners.iter().map(|(name, fd)| (name, fd.as_fd()));
        let kept = self.kept.iter();
        listeners.chain(kept.flat_map(|(name, fds)| fds.iter().map(move |fd| (name, fd.as_fd()))))
    }
}
