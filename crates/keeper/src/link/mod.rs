//! The engine's end of what is between it and its keeper.
//!
//! ```text
//!  main ──► Inheritance::take ──► KeeperLink::start ──┬─► KeeperLink   store, remove, reap, ready …
//!           (before any thread)                       ├─► FromKeeper   accepted, exited, signal, gone
//!                                                     └─► Inherited    what earlier engines stored
//! ```
//!
//! # Theory of operation
//!
//! What is said to the keeper is said in the order of the calls, and each call hands it to the
//! kernel before it returns: then it survives the engine. Only where the keeper has not read for a
//! tenth of a second (it was stopped, say) does a message wait in this process, with copies of its
//! descriptors, as do all after it, and a task sends them when there is room. So no call waits for
//! long, and none is forgotten, unless the engine is killed while its keeper does not read.
//!
//! A keeper that was killed is noticed by the end of its socket. From then on the engine is the
//! master in one process: whatever is said to the keeper is heard by nobody, and that is no error.

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

/// Descriptors that earlier engines stored, and connections that the keeper accepted meanwhile, with
/// their names. They are still stored, and need not be stored again.
pub type Inherited = Vec<(String, OwnedFd)>;

/// How many signs of life are sent in the time in which one has to come.
const SIGNS_OF_LIFE: u32 = 4;

/// The way to the keeper. Clones are the same way. No method waits for longer than
/// a tenth of a second.
#[derive(Clone, Debug)]
pub struct KeeperLink {
    notifications: Arc<Notifications>,
    keeper: u32,
    watchdog: Duration,
}

/// What the keeper tells.
#[derive(Debug)]
pub enum FromKeeper {
    /// A connection came in at a stored listener, and is stored under this name.
    Accepted {
        /// The listener's name, a point, and a number that is never used again.
        name: String,
        /// The connection; it does not block.
        connection: OwnedFd,
    },
    /// A hint: this child of the keeper has ended, and is a zombie. Ends that come at the same time
    /// may be told as one, so whoever needs to know watches the process itself.
    Exited(u32),
    /// The keeper was told to stop.
    Signal(StopSignal),
    /// The keeper was killed. Nothing comes after it.
    Gone,
}

/// A signal that asks a program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// `SIGTERM`.
    Terminate,
    /// `SIGINT`: Ctrl-C.
    Interrupt,
    /// `SIGHUP`: the terminal is gone.
    HangUp,
}

/// What the keeper could not be told.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Not a name.
    #[error("{name:?} is no name of a descriptor: give it 1 to 255 ASCII characters, no colon")]
    BadName {
        /// What it is.
        name: String,
    },
    /// A program that cannot be named to the keeper.
    #[error("{} cannot be the next engine: name a program with its full path, in UTF-8 and in one line", program.display())]
    BadProgram {
        /// What was named.
        program: PathBuf,
    },
    /// The keeper does not read, and too much waits for it already.
    #[error(
        "the keeper has not read for a long time, and {waiting} messages wait for it; look whether it was stopped (SIGSTOP)"
    )]
    Behind {
        /// How many.
        waiting: usize,
    },
    /// The system does not pass it on.
    #[error("the system does not pass a message on to the keeper")]
    System(#[from] io::Error),
}

impl KeeperLink {
    /// Begins to talk with the keeper. Needs a runtime to run in.
    ///
    /// # Errors
    /// The system has no room for two further watches.
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

    /// Whether the keeper was killed, as far as is known.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.notifications.is_gone()
    }

    /// The engine serves. From now on its death, in whatever way, is followed by another start,
    /// and it has to give signs of life.
    ///
    /// # Errors
    /// The keeper could not be told.
    pub fn ready(&self) -> Result<(), LinkError> {
        self.notifications.send("READY=1", &[])
    }

    /// The engine is about to end for good: when it exits, the keeper does with the same exit code.
    /// An engine that is killed after this is started again, to bring its stop to an end.
    ///
    /// # Errors
    /// The keeper could not be told.
    pub fn stopping(&self) -> Result<(), LinkError> {
        self.notifications.send("STOPPING=1", &[])
    }

    /// Gives signs of life for ever, each after a proof: something that completes only in an engine
    /// that works, such as a look through its loop.
    pub async fn keep_alive(self, mut proof: impl AsyncFnMut()) {
        loop {
            proof().await;
            // Where it is not told, the keeper kills us, and is right.
            let _ = self.alive();
            tokio::time::sleep(self.watchdog / SIGNS_OF_LIFE).await;
        }
    }

    /// One sign of life; it has to come within [`Self::watchdog`].
    ///
    /// # Errors
    /// The keeper could not be told.
    pub fn alive(&self) -> Result<(), LinkError> {
        self.notifications.send("WATCHDOG=1", &[])
    }

    /// How long an engine may be silent before the keeper kills it.
    #[must_use]
    pub const fn watchdog(&self) -> Duration {
        self.watchdog
    }

    /// Wishes another time, for this engine and those after it.
    ///
    /// # Errors
    /// The keeper could not be told.
    pub fn set_watchdog(&mut self, watchdog: Duration) -> Result<(), LinkError> {
        self.watchdog = watchdog;
        let text = format!("WATCHDOG_USEC={}", watchdog.as_micros());
        self.notifications.send(&text, &[])
    }

    /// Has the keeper keep descriptors under a name; several may have the same one.
    ///
    /// # Errors
    /// It is no name, or the keeper could not be told. A keeper that has no room says so in the log.
    pub fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={}", checked(name)?);
        descriptors
            .chunks(MAX_DESCRIPTORS_PER_MESSAGE)
            .try_for_each(|some| self.notifications.send(&text, some))
    }

    /// Has the keeper keep a listening socket, and accept on it: nobody else may. Its name must not
    /// be that of another listener, and should be short: it becomes part of others.
    ///
    /// # Errors
    /// As for [`Self::store`].
    pub fn store_listener(&self, name: &str, listener: BorrowedFd<'_>) -> Result<(), LinkError> {
        let name = checked(name)?;
        let text = format!("FDSTORE=1\nX_ALLEX_ACCEPT=1\nFDPOLL=0\nFDNAME={name}");
        self.notifications.send(&text, &[listener])
    }

    /// Has the keeper close all descriptors of a name.
    ///
    /// # Errors
    /// It is no name, or the keeper could not be told.
    pub fn remove(&self, name: &str) -> Result<(), LinkError> {
        let text = format!("FDSTOREREMOVE=1\nFDNAME={}", checked(name)?);
        self.notifications.send(&text, &[])
    }

    /// Has the keeper let go of a child that has ended, and whose exit status is in the journal.
    ///
    /// # Errors
    /// The keeper could not be told.
    pub fn reap(&self, child: u32) -> Result<(), LinkError> {
        self.notifications
            .send(&format!("X_ALLEX_REAP={child}"), &[])
    }

    /// Names the program that the keeper starts as the next engine. One that is never ready is
    /// given up for the one before it.
    ///
    /// # Errors
    /// The program cannot be named, or the keeper could not be told.
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

/// What comes from the keeper, in the order in which it happened.
#[derive(Debug)]
pub struct Messages {
    link: AsyncFd<Arc<OwnedFd>>,
    notifications: Arc<Notifications>,
    gone: bool,
}

impl Messages {
    /// Waits for the next one; after [`FromKeeper::Gone`], for ever. May be given up and called
    /// again: nothing is lost then.
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
    /// A keeper of another version may say more.
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
        ("SIGNAL", "HUP") => Some(FromKeeper::Signal(StopSignal::HangUp)),
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
