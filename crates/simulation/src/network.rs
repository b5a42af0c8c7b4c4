//! The network between the master and the LanManager: connections whose two directions keep the
//! order of their packets, and no order between connections.

use std::collections::{BTreeMap, VecDeque};

use allexmaster_protocol::server::ConnectionId;

/// One connection on the network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct LinkId(pub(crate) u64);

/// The ends of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Master,
    LanManager,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Text(String),
    Closed,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// What the LanManager calls it, in which of its runs.
    pub(crate) server: (u64, ConnectionId),
    to_master: Pipe,
    to_lan_manager: Pipe,
}

#[derive(Debug)]
struct Pipe {
    packets: VecDeque<Packet>,
    last_at: u64,
    /// The end that it leads to is open.
    open: bool,
}

impl Pipe {
    const fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            last_at: 0,
            open: true,
        }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Network {
    links: BTreeMap<LinkId, Link>,
    count: u64,
    /// Nothing arrives before that.
    pub(crate) cut_until: u64,
}

impl Network {
    pub(crate) fn open(&mut self, server: (u64, ConnectionId)) -> LinkId {
        self.count += 1;
        let link = Link {
            server,
            to_master: Pipe::new(),
            to_lan_manager: Pipe::new(),
        };
        self.links.insert(LinkId(self.count), link);
        LinkId(self.count)
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    /// The link of a connection of the LanManager.
    pub(crate) fn of_server(&self, server: (u64, ConnectionId)) -> Option<LinkId> {
        let mut links = self.links.iter();
        links
            .find(|(_, link)| link.server == server)
            .map(|(id, _)| *id)
    }

    /// The links that one of the ends holds open.
    pub(crate) fn open_at(&self, end: End) -> Vec<LinkId> {
        let links = self.links.iter();
        links
            .filter(|(_, link)| link.pipe(end).open)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Sends a packet to an end; gives the time of its arrival.
    pub(crate) fn send(&mut self, link: LinkId, to: End, at: u64, packet: Packet) -> Option<u64> {
        let pipe = self.links.get_mut(&link)?.pipe_mut(to);
        pipe.last_at = pipe.last_at.max(at);
        pipe.packets.push_back(packet);
        Some(pipe.last_at)
    }

    /// Takes the next packet out at an end; nothing where that end is closed.
    pub(crate) fn receive(&mut self, link: LinkId, at: End) -> Option<Packet> {
        let pipe = self.links.get_mut(&link)?.pipe_mut(at);
        pipe.packets.pop_front().filter(|_| pipe.open)
    }

    /// An end is closed: it receives nothing more.
    pub(crate) fn close(&mut self, link: LinkId, end: End) {
        if let Some(found) = self.links.get_mut(&link) {
            found.pipe_mut(end).open = false;
            if !found.to_master.open && !found.to_lan_manager.open {
                self.links.remove(&link);
            }
        }
    }

    /// What is on its way to an end never arrives.
    pub(crate) fn lose(&mut self, link: LinkId, to: End) {
        if let Some(found) = self.links.get_mut(&link) {
            found.pipe_mut(to).packets.clear();
        }
    }
}

impl Link {
    const fn pipe(&self, to: End) -> &Pipe {
        match to {
            End::Master => &self.to_master,
            End::LanManager => &self.to_lan_manager,
        }
    }

    const fn pipe_mut(&mut self, to: End) -> &mut Pipe {
        match to {
            End::Master => &mut self.to_master,
            End::LanManager => &mut self.to_lan_manager,
        }
    }
}
