//! The engine's end of the link to its keeper.
//!
//! ```text
//!  main ──► Inheritance::take ──► KeeperLink::start ──┬─► KeeperLink   store, remove, reap, ready …
//!           (before any thread)                       ├─► FromKeeper   accepted, exited, signal, gone
//!                                                     └─► Inherited    what earlier engines stored
//! ```
//!
//! # Theory of operation
//!
//! Messages are sent in the order of the calls, and each call hands its message to the kernel before it
//! returns, so that the message survives the engine. Only if the keeper does not read for a tenth of a
//! second (it was stopped, say) is a message queued in this process, with copies of its descriptors, as
//! are all after it; a task sends them when there is room. So no call blocks for long, and no message is
//! lost unless the engine is killed while the keeper does not read.
//!
//! The end of the link shows that the keeper was killed. From then on the engine is the master in one
//! process, and messages to the keeper are dropped without an error.

mod inheritance;
mod notifications;

use std::future::pending;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::keeper::{MAX_DESCRIPTORS_PER_MESSAGE, MAX_MESSAGE, is_name};
use crate::os;
use notifications::Notifications;

pub use inheritance::{BadInheritance, Inheritance};

/// Descriptors that earlier engines stored and connections that the keeper accepted since, with their
/// names. They are still stored.
pub type Inherited = Vec<(String, OwnedFd)>;

/// Maximum length of [`KeeperLink::status`] in characters.
pub const MAX_STATUS: usize = 250;

/// Number of keep-alive messages per watchdog interval, of which the keeper needs one.
const KEEP_ALIVES: u32 = 4;

/// Sends messages to the keeper. Clones share one link. No method blocks longer than a tenth of a second.
#[derive(Clone, Debug)]
pub struct KeeperLink {
    notifications: Arc<Notifications>,
    keeper: u32,
    watchdog: Duration,
}

/// A message of the keeper.
#[derive(Debug)]
pub enum FromKeeper {
    /// A connection was accepted on a stored listener, and is stored under this name.
    Accepted {
        /// The listener's name, a point, and a number that is never used again.
        name: String,
        /// The connection; it does not block.
        connection: OwnedFd,
    },
    /// A hint: this child of the keeper has ended, and is a zombie. Simultaneous ends may be reported as
    /// one; watch the process itself to be sure.
    Exited(u32),
    /// The keeper received a stop signal.
    Signal(StopSignal),
    /// The keeper received `SIGHUP`: the configuration is to be read again.
    Reload,
    /// The keeper was killed. It is the last message.
    Gone,
}

/// A signal that asks the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// `SIGTERM`.
    Terminate,
    /// `SIGINT`: Ctrl-C.
    Interrupt,
}

/// Why a message could not be sent to the keeper.
#[derive(Debug, Error)]
pub enum LinkError {
    #[error("{name:?} is no name of a descriptor: give it 1 to 255 ASCII characters, no colon")]
    BadName { name: String },
    #[error("{} cannot be the next engine: name a program with its full path, in UTF-8 and in one line", program.display())]
    BadProgram { program: PathBuf },
    /// The keeper does not read, and the queue is full.
    #[error(
        "the keeper has not read for a long time, and {waiting} messages wait for it; look whether it was stopped (SIGSTOP)"
    )]
    Behind { waiting: usize },
    #[error("the system does not pass a message on to the keeper")]
    System(#[from] io::Error),
}

impl KeeperLink {
    /// Starts to send and receive. Needs an async runtime.
    ///
    /// # Errors
    /// The system has no room for two more registrations.
    pub fn start(inheritance: Inheritance) -> io::Result<(Self, Messages, Inherited)> {
        let Inheritance {
            link,
            notify,
            keeper,
            watchdog,
            kept,
        } = inheritance;
        let notifications = Notifications::start(notify)?;
        let messages = Messages {
            link: os::watch(Arc::new(link), Interest::READABLE)?,
            notifications: Arc::clone(&notifications),
            gone: false,
        };
        let link = Self {
            notifications,
            keeper,
            watchdog,
        };
        Ok((link, messages, kept))
    }

    /// The keeper's process number: the public one of the master.
    #[must_use]
    pub const fn keeper(&self) -> u32 {
        self.keeper
    }

    /// Whether the end of the keeper was seen.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.notifications.is_gone()
    }

    /// Reports that the engine serves. From now on it is started again whenever it ends, and has to
    /// send keep-alive messages.
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn ready(&self) -> Result<(), LinkError> {
        self.notifications.send("READY=1", &[])
    }

    /// Reports that the engine reads its configuration again, to a service manager. [`Self::ready`] has to
    /// follow.
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn reloading(&self) -> Result<(), LinkError> {
        self.notifications.send("RELOADING=1", &[])
    }

    /// Reports one line for people to a service manager; line breaks become blanks, and what is longer
    /// than [`MAX_STATUS`] is cut.
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn status(&self, text: &str) -> Result<(), LinkError> {
        let text: String = text.replace('\n', " ").chars().take(MAX_STATUS).collect();
        self.notifications.send(&format!("STATUS={text}"), &[])
    }

    /// Tells how long children have to end, should the keeper have to end them without an engine.
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn stop_grace(&self, grace: Duration) -> Result<(), LinkError> {
        let milliseconds = grace.as_millis();
        self.notifications
            .send(&format!("X_ALLEX_GRACE={milliseconds}"), &[])
    }

    /// Reports that the engine is about to end for good: when it exits, the keeper exits with the same
    /// code. An engine that is killed after this is started again, to complete the stop.
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn stopping(&self) -> Result<(), LinkError> {
        self.notifications.send("STOPPING=1", &[])
    }

    /// Sends keep-alive messages for ever, each after `proof`: something that completes only in an engine
    /// that works, such as a round trip through its loop.
    pub async fn keep_alive(self, mut proof: impl AsyncFnMut()) {
        loop {
            proof().await;
            // If the message is lost, the keeper kills this process, as it should.
            let _ = self.alive();
            tokio::time::sleep(self.watchdog / KEEP_ALIVES).await;
        }
    }

    /// Sends one keep-alive message; the next one is due within [`Self::watchdog`].
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn alive(&self) -> Result<(), LinkError> {
        self.notifications.send("WATCHDOG=1", &[])
    }

    /// How long the engine may be silent before the keeper kills it.
    #[must_use]
    pub const fn watchdog(&self) -> Duration {
        self.watchdog
    }

    /// Sets that time, for this engine and those after it.
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn set_watchdog(&mut self, watchdog: Duration) -> Result<(), LinkError> {
        self.watchdog = watchdog;
        let text = format!("WATCHDOG_USEC={}", watchdog.as_micros());
        self.notifications.send(&text, &[])
    }

    /// Stores descriptors in the keeper under a name; several may have the same one.
    ///
    /// # Errors
    /// The name is invalid, or the message could not be sent. A keeper without room says so in its log.
    pub fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={}", checked(name)?);
        descriptors
            .chunks(MAX_DESCRIPTORS_PER_MESSAGE)
            .try_for_each(|some| self.notifications.send(&text, some))
    }

    /// Stores a listening socket in the keeper, which alone accepts on it from now on. No other listener
    /// may have its name, which should be short: connections are named after it.
    ///
    /// # Errors
    /// As for [`Self::store`].
    pub fn store_listener(&self, name: &str, listener: BorrowedFd<'_>) -> Result<(), LinkError> {
        let name = checked(name)?;
        let text = format!("FDSTORE=1\nX_ALLEX_ACCEPT=1\nFDPOLL=0\nFDNAME={name}");
        self.notifications.send(&text, &[listener])
    }

    /// Removes all descriptors of a name from the keeper.
    ///
    /// # Errors
    /// The name is invalid, or the message could not be sent.
    pub fn remove(&self, name: &str) -> Result<(), LinkError> {
        let text = format!("FDSTOREREMOVE=1\nFDNAME={}", checked(name)?);
        self.notifications.send(&text, &[])
    }

    /// Lets the keeper reap a child that has ended and whose exit status is in the journal.
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn reap(&self, child: u32) -> Result<(), LinkError> {
        self.notifications
            .send(&format!("X_ALLEX_REAP={child}"), &[])
    }

    /// Sets the program that the keeper starts as the next engine. If it is never ready, the one before
    /// is started again.
    ///
    /// # Errors
    /// The path is not absolute or not UTF-8 in one line, or the message could not be sent.
    pub fn next_engine(&self, program: &Path) -> Result<(), LinkError> {
        let named = program.to_str().filter(|path| !path.contains('\n'));
        let Some(path) = named.filter(|_| program.is_absolute()) else {
            return Err(LinkError::BadProgram {
                program: program.to_owned(),
            });
        };
        self.notifications
            .send(&format!("X_ALLEX_ENGINE={path}"), &[])
    }
}

fn checked(name: &str) -> Result<&str, LinkError> {
    if is_name(name) {
        Ok(name)
    } else {
        Err(LinkError::BadName {
            name: name.to_owned(),
        })
    }
}

/// The messages of the keeper, in order.
#[derive(Debug)]
pub struct Messages {
    link: AsyncFd<Arc<OwnedFd>>,
    notifications: Arc<Notifications>,
    gone: bool,
}

impl Messages {
    /// Waits for the next one; after [`FromKeeper::Gone`], for ever. Safe to cancel: no message is lost.
    pub async fn next(&mut self) -> FromKeeper {
        if self.gone {
            return pending().await;
        }
        loop {
            let received = match self.link.readable().await {
                Ok(mut ready) => ready.try_io(|link| receive(link.get_ref().as_fd())),
                Err(error) => Ok(Err(error)),
            };
            match received {
                // Not readable after all.
                Err(_) => {}
                Ok(Ok(Received::Message(message))) => return message,
                Ok(Ok(Received::NotUnderstood)) => {}
                Ok(Ok(Received::End) | Err(_)) => {
                    self.gone = true;
                    self.notifications.close();
                    return FromKeeper::Gone;
                }
            }
        }
    }
}

enum Received {
    Message(FromKeeper),
    /// From a keeper of another version.
    NotUnderstood,
    End,
}

fn receive(link: BorrowedFd<'_>) -> io::Result<Received> {
    let mut text = [0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(link, &mut [IoSliceMut::new(&mut text)], &mut control, flags)?;
    if received.bytes == 0 {
        return Ok(Received::End);
    }
    let mut descriptor = None;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = part {
            descriptor = rights.next();
        }
    }
    let text = text.get(..received.bytes).unwrap_or_default();
    let message = std::str::from_utf8(text)
        .ok()
        .and_then(|text| read(text, descriptor));
    Ok(message.map_or(Received::NotUnderstood, Received::Message))
}

fn read(text: &str, descriptor: Option<OwnedFd>) -> Option<FromKeeper> {
    match text.split_once('=')? {
        ("ACCEPTED", name) => Some(FromKeeper::Accepted {
            name: name.to_owned(),
            connection: descriptor?,
        }),
        ("EXITED", child) => Some(FromKeeper::Exited(child.parse().ok()?)),
        ("SIGNAL", "TERM") => Some(FromKeeper::Signal(StopSignal::Terminate)),
        ("SIGNAL", "INT") => Some(FromKeeper::Signal(StopSignal::Interrupt)),
        ("SIGNAL", "HUP") => Some(FromKeeper::Reload),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_left_out() {
        for text in [
            "",
            "ACCEPTED",
            "ACCEPTED=local.1",
            "EXITED=-1",
            "SIGNAL=USR1",
            "NEWS=1",
        ] {
            assert!(read(text, None).is_none(), "{text}");
        }
        assert!(matches!(
            read("EXITED=7", None),
            Some(FromKeeper::Exited(7))
        ));
    }
}
