//! What an engine does with the connections of the one before it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use allexmaster_protocol::close::CloseReason;
use tracing::error;

use super::carry::Hold;
use super::driver::Shared;
use super::kept::{Kept, Pipe};
use super::memory::Memory;
use super::store::{CHANNEL, Inherited, LOG};
use super::{accept, dialer, looks, upgrade};
use allexmaster_sessions::Front;
use allexmaster_sessions::Progress;
use allexmaster_sessions::{Input, LineName, Mark};

/// A front that was made again.
#[derive(Debug)]
pub struct Restored {
    /// The front.
    pub front: Front,
    pub(super) memory: Memory,
    /// The number of that log.
    pub(super) generation: u64,
}

/// Makes the front again whose log was given back; none where there was none, or of no use.
#[must_use]
pub fn restore(inherited: &mut Inherited) -> Option<Restored> {
    let mut logs = BTreeMap::new();
    let names: Vec<String> = inherited.keys().cloned().collect();
    for name in names {
        let generation: Option<u64> = name.strip_prefix(LOG).and_then(|text| text.parse().ok());
        if let Some(generation) = generation {
            let descriptors = inherited.remove(&name).unwrap_or_default();
            logs.insert(generation, descriptors);
        }
    }
    let (generation, descriptors) = logs.pop_last()?;
    match Memory::open(descriptors.into_iter().next()?) {
        Ok((memory, front)) => Some(Restored {
            memory,
            front,
            generation,
        }),
        Err(reason) => {
            error!(%reason, "the connections of the engine before cannot be taken up");
            None
        }
    }
}

impl Shared {
    /// Takes up what was given back: the lines that the front knows, and those that it does not.
    pub(super) fn attach(self: &Arc<Self>, mut inherited: Inherited, is_restored: bool) {
        let (lines, looks, dialing) = {
            let front = &self.lock().front;
            (front.lines(), front.looks(), front.dialing())
        };
        for (line, progress) in lines {
            let mut descriptors = inherited.remove(&line.0).unwrap_or_default().into_iter();
            let ends = |descriptors: &mut std::vec::IntoIter<OwnedFd>| {
                descriptors.next().zip(descriptors.next())
            };
            let attached = descriptors
                .next()
                .map(|socket| self.attach_line(&line, socket, ends(&mut descriptors), progress));
            match attached {
                Some(Ok((kept, marks))) => {
                    for mark in marks {
                        self.mark(&line, mark);
                    }
                    let hold = Arc::new(Hold::default());
                    self.lock().holds.insert(line.clone(), Arc::clone(&hold));
                    self.serve(&line, kept, hold);
                }
                Some(Err(error)) => {
                    self.forget(&line);
                    let reason = CloseReason::Io {
                        reason: error.to_string(),
                    };
                    self.enter(Input::Ended { line, reason });
                }
                // One that nobody keeps (TLS), or that was never kept.
                None => {
                    let reason = CloseReason::ByUs;
                    self.enter(Input::Ended { line, reason });
                }
            }
        }
        for (name, descriptors) in inherited {
            self.take_up(LineName(name), descriptors, is_restored);
        }
        upgrade::end(self);
        for (request, asked) in looks {
            looks::look(self, request, asked);
        }
        if dialing.is_some() {
            dialer::begin(self, &mut self.lock());
        }
        self.obey(&mut self.lock());
        self.tell.notify_one();
    }

    /// Takes up a line; gives what is to be noted of it.
    fn attach_line(
        &self,
        line: &LineName,
        socket: OwnedFd,
        ends: Option<(OwnedFd, OwnedFd)>,
        progress: Progress,
    ) -> std::io::Result<(Kept, Vec<Mark>)> {
        let pipe = match ends {
            Some((from, to)) => Pipe::of(from, to),
            None => {
                // The engine before was killed between the socket and its pipe.
                let pipe = Pipe::new()?;
                if let Some(store) = &self.store {
                    store.keep(&line.0, &pipe.ends());
                }
                pipe
            }
        };
        let kept = Kept::new(socket, Some(pipe))?;
        let marks = kept.settle(progress)?;
        Ok((kept, marks))
    }

    /// Takes up descriptors that the front does not know.
    fn take_up(self: &Arc<Self>, line: LineName, descriptors: Vec<OwnedFd>, is_restored: bool) {
        let first = descriptors.into_iter().next();
        match (accept::socket_of(&line), first) {
            // Accepted while no engine ran. Where the front is lost, so is what was said before.
            (Some(socket), Some(descriptor)) if is_restored => {
                self.accepted(line, socket, descriptor);
            }
            (None, Some(descriptor)) if is_restored && line.0.starts_with(CHANNEL) => {
                self.lock().spare.insert(line, descriptor);
            }
            (_, _) => self.forget(&line),
        }
    }
}
