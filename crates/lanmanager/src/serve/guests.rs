//! Who may come in, how many of them, and how often the log tells of each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use allexmaster_protocol::handshake::web::WebAccess;
use allexmaster_protocol::server::MAX_CONNECTIONS;

use super::access::Access;
use crate::files::Configuration;

/// Most connections of one address: a machine with a master and two thousand tools.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 2_048;

/// Most connections of one address whose handshake is not done. A handshake takes
/// milliseconds.
const MAX_HANDSHAKES_PER_ADDRESS: usize = 256;

/// Descriptors that connections cannot take: the journal, the files, the doors, and the
/// checks of ports, which have up to three open each.
const RESERVED_DESCRIPTORS: u64 = 512;

/// A line about each of this many events of one address is logged, then only their number.
const MAX_LINES_PER_ADDRESS: u32 = 10;

/// Most addresses that the log tells of in one [`WINDOW`]; of others only how many
/// events there were.
const MAX_TOLD_ADDRESSES: usize = 1_000;

/// How long an address has to wait until the log tells of it again.
const WINDOW: Duration = Duration::from_secs(60);

/// Who may come in, and who is in.
#[derive(Debug)]
pub(super) struct Guests {
    access: Access,
    pub(super) web: WebAccess,
    /// Most connections at once.
    most: usize,
    present: Mutex<HashMap<IpAddr, Present>>,
    told: Mutex<Told>,
}

/// How many connections an address has.
#[derive(Debug, Default)]
struct Present {
    connections: usize,
    handshakes: usize,
}

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TurnedAway {
    #[error("the address is neither this machine's nor in .allexlanmanager/subnets")]
    Stranger,
    #[error("the address has {MAX_CONNECTIONS_PER_ADDRESS} connections already")]
    TooManyOfAddress,
    #[error("the address has {MAX_HANDSHAKES_PER_ADDRESS} connections whose handshake is not done")]
    TooManyHandshakes,
    #[error("there are {0} connections already; raise the limit of descriptors (ulimit -n)")]
    Full(usize),
}

impl Guests {
    pub(super) fn new(configuration: &Configuration) -> Self {
        let networks = configuration.subnets.iter().map(|one| one.network());
        let mut web = configuration.boot.web.clone();
        web.hosts.extend(own_name());
        let room = raise_descriptor_limit().saturating_sub(RESERVED_DESCRIPTORS);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if room < MAX_CONNECTIONS {
            tracing::info!(
                connections = room,
                "the limit of descriptors allows so many"
            );
        }
        Self {
            access: Access::new(networks.collect()),
            web,
            most: room.min(MAX_CONNECTIONS),
            present: Mutex::default(),
            told: Mutex::new(Told::new(Instant::now())),
        }
    }

    /// Lets a peer in that reached us at `own`, until the guest is dropped.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        own: IpAddr,
    ) -> Result<Guest, TurnedAway> {
        if !self.access.allows(address, own) {
            return Err(TurnedAway::Stranger);
        }
        let mut present = lock(&self.present);
        let all: usize = present.values().map(|present| present.connections).sum();
        if all >= self.most {
            return Err(TurnedAway::Full(self.most));
        }
        let of_address = present.entry(address).or_default();
        if of_address.connections >= MAX_CONNECTIONS_PER_ADDRESS {
            return Err(TurnedAway::TooManyOfAddress);
        }
        if of_address.handshakes >= MAX_HANDSHAKES_PER_ADDRESS {
            return Err(TurnedAway::TooManyHandshakes);
        }
        of_address.connections += 1;
        of_address.handshakes += 1;
        Ok(Guest {
            guests: Arc::clone(self),
            address,
            in_handshake: true,
        })
    }

    /// Whether the log tells of one more event of an address.
    pub(super) fn may_tell(&self, address: IpAddr) -> bool {
        lock(&self.told).may_tell(address, Instant::now())
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    pub(super) address: IpAddr,
    in_handshake: bool,
}

impl Guest {
    /// The handshake is done.
    pub(super) fn shook_hands(&mut self) {
        if self.in_handshake {
            self.in_handshake = false;
            if let Some(present) = lock(&self.guests.present).get_mut(&self.address) {
                present.handshakes -= 1;
            }
        }
    }

    pub(super) fn may_tell(&self) -> bool {
        self.guests.may_tell(self.address)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shook_hands();
        let mut present = lock(&self.guests.present);
        if let Some(of_address) = present.get_mut(&self.address) {
            of_address.connections -= 1;
            if of_address.connections == 0 {
                present.remove(&self.address);
            }
        }
    }
}

/// What the log has told of, in this window.
#[derive(Debug)]
struct Told {
    since: Instant,
    lines: HashMap<IpAddr, u32>,
    silent: u64,
}

impl Told {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            lines: HashMap::new(),
            silent: 0,
        }
    }

    fn may_tell(&mut self, address: IpAddr, now: Instant) -> bool {
        if now.duration_since(self.since) >= WINDOW {
            if self.silent > 0 {
                tracing::warn!(
                    events = self.silent,
                    "so many more events of peers were not logged, to keep the log short"
                );
            }
            *self = Self::new(now);
        }
        let is_new = !self.lines.contains_key(&address);
        let lines = if is_new && self.lines.len() >= MAX_TOLD_ADDRESSES {
            MAX_LINES_PER_ADDRESS
        } else {
            let lines = self.lines.entry(address).or_default();
            *lines += 1;
            *lines - 1
        };
        if lines >= MAX_LINES_PER_ADDRESS {
            self.silent += 1;
        }
        lines < MAX_LINES_PER_ADDRESS
    }
}

/// The name of this machine, by which others on its network may call it.
fn own_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Raises the limit of descriptors as far as this user may; gives what holds.
#[cfg(unix)]
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    let holds = if raised.is_ok() {
        limit.maximum
    } else {
        before
    };
    holds.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
fn raise_descriptor_limit() -> u64 {
    u64::MAX
}

/// All of it is consistent after every statement, so a panic elsewhere does not spoil it.
fn lock<Guarded>(mutex: &Mutex<Guarded>) -> MutexGuard<'_, Guarded> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn guests(most: usize) -> Arc<Guests> {
        Arc::new(Guests {
            access: Access::new(vec!["10.0.0.0/8".parse().unwrap()]),
            web: WebAccess::default(),
            most,
            present: Mutex::default(),
            told: Mutex::new(Told::new(Instant::now())),
        })
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let guests = guests(MAX_CONNECTIONS);
        let other = "10.0.0.1".parse().unwrap();
        let mut of_here = Vec::new();
        for _ in 0..MAX_HANDSHAKES_PER_ADDRESS {
            of_here.push(guests.admit(HERE, HERE).unwrap());
        }
        assert_eq!(
            guests.admit(HERE, HERE).unwrap_err(),
            TurnedAway::TooManyHandshakes
        );
        assert!(guests.admit(other, HERE).is_ok());
        while of_here.len() < MAX_CONNECTIONS_PER_ADDRESS {
            of_here.iter_mut().for_each(Guest::shook_hands);
            of_here.push(guests.admit(HERE, HERE).unwrap());
        }
        assert_eq!(
            guests.admit(HERE, HERE).unwrap_err(),
            TurnedAway::TooManyOfAddress
        );
        of_here.clear();
        assert!(guests.admit(HERE, HERE).is_ok());
        assert!(lock(&guests.present).is_empty());
    }

    #[test]
    fn strangers_are_turned_away_and_so_is_who_comes_when_it_is_full() {
        let guests = guests(1);
        let stranger = "127.0.0.2".parse().unwrap();
        assert_eq!(
            guests.admit(stranger, HERE).unwrap_err(),
            TurnedAway::Stranger
        );
        let _guest = guests.admit(HERE, HERE).unwrap();
        assert_eq!(guests.admit(HERE, HERE).unwrap_err(), TurnedAway::Full(1));
    }

    #[test]
    fn the_log_tells_a_little_of_each_address_and_goes_on_after_a_minute() {
        let began = Instant::now();
        let mut told = Told::new(began);
        let lines = (0..1_000).filter(|_| told.may_tell(HERE, began)).count();
        assert_eq!(lines, 10);
        let many = (0..100_000_u32)
            .filter(|number| told.may_tell(std::net::Ipv4Addr::from(*number).into(), began));
        assert_eq!(many.count(), MAX_TOLD_ADDRESSES - 1);
        assert!(told.may_tell(HERE, began + WINDOW));
    }
}
