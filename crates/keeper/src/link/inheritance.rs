//! What an engine inherits from the keeper that starts it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use thiserror::Error;

use super::Inherited;
use crate::keeper::{ENGINE_VARIABLE, KEEPER_NAME, NAMES_NAME, ROLE_VARIABLE};
use crate::os;

/// Maximum length of the file with names, in bytes: more than the store's descriptors can have.
const MAX_NAMES_FILE: u64 = 16 * 1024 * 1024;

/// What an engine inherits from the keeper that starts it.
#[derive(Debug)]
pub struct Inheritance {
    pub(super) link: OwnedFd,
    /// For messages to the keeper: the link, with a descriptor of its own so that both directions can be
    /// registered with the runtime. A keeper of version 0.1.0 has a datagram socket for them.
    pub(super) notify: OwnedFd,
    pub(super) keeper: u32,
    pub(super) watchdog: Duration,
    pub(super) kept: Inherited,
}

/// What was inherited is not what a keeper of this program gives.
#[derive(Debug, Error)]
pub enum BadInheritance {
    /// A variable is absent or malformed.
    #[error(
        "the keeper gave no usable {variable}; unset ALLEXMASTER_ROLE and LISTEN_PID if there is no keeper"
    )]
    Variable { variable: &'static str },
    #[error(
        "the keeper gave no descriptor named {KEEPER_NAME}; unset LISTEN_PID if there is no keeper"
    )]
    NoLink,
    #[error("what the keeper gave cannot be used")]
    System(#[from] io::Error),
}

impl Inheritance {
    /// Takes what this process inherited; `None` if no keeper started it. Removes all of it from the
    /// environment, so that no child gets it. Call it in `main`, before the first thread is started and
    /// before any file is opened.
    ///
    /// # Errors
    /// Something is missing or malformed.
    pub fn take() -> Result<Option<Self>, BadInheritance> {
        let taken = Self::read();
        os::forget_variables(&[
            ROLE_VARIABLE,
            ENGINE_VARIABLE,
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "LISTEN_FDNAMES",
        ]);
        taken
    }

    /// What earlier engines stored, by name.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.kept.iter().map(|(name, kept)| (name.as_str(), kept))
    }

    fn read() -> Result<Option<Self>, BadInheritance> {
        let Some(descriptors) = os::handed_over().map_err(io::Error::from)? else {
            return Ok(None);
        };
        let watchdog = variable("WATCHDOG_USEC")?
            .parse()
            .map(Duration::from_micros);
        let mut names = variable("LISTEN_FDNAMES")?;
        let mut descriptors = descriptors.into_iter();
        if names == NAMES_NAME
            && let Some(file) = descriptors.next()
        {
            names.clear();
            File::from(file)
                .take(MAX_NAMES_FILE)
                .read_to_string(&mut names)?;
        }
        let mut kept: Inherited = names
            .split(':')
            .map(str::to_owned)
            .zip(descriptors)
            .collect();
        let link = kept.iter().position(|(name, _)| name == KEEPER_NAME);
        let (_, link) = kept.remove(link.ok_or(BadInheritance::NoLink)?);
        let keeper = os::peer(&link)?.pid;
        let notify = match std::env::var("NOTIFY_SOCKET") {
            Ok(address) => connected(&address)?,
            Err(_) => link.try_clone()?,
        };
        Ok(Some(Self {
            notify,
            keeper,
            watchdog: watchdog.map_err(|_| BadInheritance::Variable {
                variable: "WATCHDOG_USEC",
            })?,
            link,
            kept,
        }))
    }
}

fn variable(variable: &'static str) -> Result<String, BadInheritance> {
    std::env::var(variable).map_err(|_| BadInheritance::Variable { variable })
}

/// Connects to the datagram socket of a keeper of version 0.1.0.
fn connected(address: &str) -> Result<OwnedFd, BadInheritance> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = || {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
            None => SocketAddrUnix::new(address)?,
        };
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        connect(&socket, &address)?;
        Ok(socket)
    };
    let opened: rustix::io::Result<OwnedFd> = open();
    Ok(opened.map_err(io::Error::from)?)
}
