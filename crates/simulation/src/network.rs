//! Byte streams between the masters and those that they speak with: the LanManager, tools, children.
//!
//! A stream keeps the order of its bytes; there is no order between streams. The master's end has what
//! the kernel gives an engine: a receive buffer with a peek offset, and a pipe in front of the socket,
//! both of which outlive the engine.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use allexmaster_protocol::server::ConnectionId;
use allexmaster_state::Identity;
use allexmaster_testkit::chance::Chance;

use crate::env::MasterId;

/// A pipe takes so many bytes: few, so that most messages need several.
const PIPE_BYTES: usize = 512;

/// One stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct LinkId(pub(crate) u64);

/// Who is at the other end of a master's stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Peer {
    /// The LanManager, in which of its runs.
    LanManager {
        run: u64,
        connection: ConnectionId,
    },
    Tool,
    Child(Identity),
}

/// The ends of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Master,
    Peer,
}

/// What is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Segment {
    Bytes(Vec<u8>),
    Closed(Closed),
}

/// How a stream ended, as one end sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Closed {
    /// The other end closed it: everything before has come.
    Finished,
    /// It broke.
    Reset,
}

/// What has come at the peer's end.
#[derive(Debug)]
pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    Closed,
}

#[derive(Debug)]
struct Link {
    master: MasterId,
    peer: Peer,
    /// Segments have at most so many bytes.
    grain: u64,
    /// Nothing gets through any more; the ends may not know.
    broken: bool,
    to_master: Direction,
    to_peer: Direction,
    /// What has come at the master's end and was not taken.
    received: VecDeque<u8>,
    /// How many of it were peeked.
    peeked: usize,
    closed: Option<Closed>,
    pipe: VecDeque<u8>,
}

#[derive(Debug, Default)]
struct Direction {
    under_way: VecDeque<Segment>,
    last_at: u64,
    /// The end that it leads to has closed the stream.
    is_closed: bool,
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Network {
    links: BTreeMap<LinkId, Link>,
    count: u64,
    /// Nothing of these masters' LanManager arrives before that time.
    cuts: BTreeMap<MasterId, u64>,
}

impl Network {
    /// Opens a stream.
    pub(crate) fn open(&mut self, chance: &mut Chance, master: MasterId, peer: Peer) -> LinkId {
        self.count += 1;
        let link = Link {
            master,
            peer,
            grain: match chance.below(40) {
                0 => 1,
                1..10 => 40,
                _ => 4_096,
            },
            broken: false,
            to_master: Direction::default(),
            to_peer: Direction::default(),
            received: VecDeque::new(),
            peeked: 0,
            closed: None,
            pipe: VecDeque::new(),
        };
        self.links.insert(LinkId(self.count), link);
        LinkId(self.count)
    }

    /// The master of a stream, and its peer.
    pub(crate) fn ends(&self, link: LinkId) -> Option<(MasterId, &Peer)> {
        let link = self.links.get(&link)?;
        Some((link.master, &link.peer))
    }

    /// The streams that a master's end holds open.
    pub(crate) fn of_master(&self, master: MasterId) -> Vec<LinkId> {
        self.chosen(|link| link.master == master && !link.to_master.is_closed)
    }

    /// The streams that the peer's end holds open, of peers that are meant.
    pub(crate) fn of_peer(&self, is_meant: impl Fn(&Peer) -> bool) -> Vec<LinkId> {
        self.chosen(|link| is_meant(&link.peer) && !link.to_peer.is_closed)
    }

    fn chosen(&self, is_meant: impl Fn(&Link) -> bool) -> Vec<LinkId> {
        let links = self.links.iter().filter(|(_, link)| is_meant(link));
        links.map(|(id, _)| *id).collect()
    }

    /// Sends bytes to an end; gives the times at which something arrives. Where that end is closed, the
    /// answer is a reset, which is added to the times of the other end.
    pub(crate) fn send(
        &mut self,
        chance: &mut Chance,
        (link, to): (LinkId, End),
        at: u64,
        bytes: &[u8],
    ) -> Vec<(u64, End)> {
        let Some(found) = self.links.get_mut(&link) else {
            return Vec::new();
        };
        if found.broken {
            return Vec::new();
        }
        if found.direction(to).is_closed {
            let back = to.other();
            let reset = Segment::Closed(Closed::Reset);
            return vec![(found.direction(back).push(at, reset), back)];
        }
        let mut arrivals = Vec::new();
        let (mut rest, mut at) = (bytes, at);
        while !rest.is_empty() {
            let most = found.grain.min(rest.len() as u64);
            let count = usize::try_from(chance.between(most.div_ceil(2), most)).unwrap_or(1);
            let (segment, behind) = rest.split_at(count);
            rest = behind;
            let segment = Segment::Bytes(segment.to_vec());
            at = found.direction(to).push(at, segment);
            arrivals.push((at, to));
            at += u64::from(chance.permille(100));
        }
        arrivals
    }

    /// An end closes the stream, or is closed by the kernel; gives when the other end hears of it.
    pub(crate) fn close(&mut self, link: LinkId, end: End, at: u64) -> Option<u64> {
        let found = self.links.get_mut(&link)?;
        let was_closed = std::mem::replace(&mut found.direction(end).is_closed, true);
        let other = end.other();
        if found.direction(other).is_closed {
            self.links.remove(&link);
            return None;
        }
        if found.broken || was_closed {
            return None;
        }
        let closed = Segment::Closed(Closed::Finished);
        Some(found.direction(other).push(at, closed))
    }

    /// An end is gone without a word: what is sent to it is answered with a reset.
    pub(crate) fn vanish(&mut self, link: LinkId, end: End) {
        if let Some(found) = self.links.get_mut(&link) {
            found.direction(end).is_closed = true;
            if found.direction(end.other()).is_closed {
                self.links.remove(&link);
            }
        }
    }

    /// Nothing gets through any more; what is under way is lost.
    pub(crate) fn break_off(&mut self, link: LinkId) {
        if let Some(found) = self.links.get_mut(&link) {
            found.broken = true;
            found.to_master.under_way.clear();
            found.to_peer.under_way.clear();
        }
    }

    /// An end finds out that its stream is broken; gives when.
    pub(crate) fn notice(&mut self, link: LinkId, end: End, at: u64) -> Option<u64> {
        let found = self.links.get_mut(&link)?;
        let reset = Segment::Closed(Closed::Reset);
        Some(found.direction(end).push(at, reset))
    }

    /// Nothing from or to the LanManager arrives at a master before that time.
    pub(crate) fn cut(&mut self, master: MasterId, until: u64) {
        self.cuts.insert(master, until);
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Until when a master is cut off from the LanManager.
    pub(crate) fn cut_until(&self, master: MasterId) -> u64 {
        self.cuts.get(&master).copied().unwrap_or(0)
    }

    /// The next segment arrives at the master's end: it waits in the socket. False: there is none, or
    /// no socket.
    pub(crate) fn arrive_at_master(&mut self, link: LinkId) -> bool {
        let Some(found) = self.links.get_mut(&link) else {
            return false;
        };
        let segment = found.to_master.under_way.pop_front();
        if found.to_master.is_closed || found.closed.is_some() {
            return false;
        }
        match segment {
            Some(Segment::Bytes(bytes)) => found.received.extend(bytes),
            Some(Segment::Closed(closed)) => found.closed = Some(closed),
            None => return false,
        }
        true
    }

    /// The next segment arrives at the peer's end.
    pub(crate) fn arrive_at_peer(&mut self, link: LinkId) -> Option<Arrival> {
        let found = self.links.get_mut(&link)?;
        let segment = found.to_peer.under_way.pop_front();
        match segment.filter(|_| !found.to_peer.is_closed)? {
            Segment::Bytes(bytes) => Some(Arrival::Bytes(bytes)),
            Segment::Closed(_) => Some(Arrival::Closed),
        }
    }

    /// Copies what has come and was not peeked, as `MSG_PEEK` with a peek offset does. Zero bytes: the
    /// peer has closed.
    pub(crate) fn peek(&mut self, link: LinkId, buffer: &mut [u8]) -> io::Result<usize> {
        let found = self
            .links
            .get_mut(&link)
            .ok_or(io::ErrorKind::NotConnected)?;
        let mut count = 0;
        for (to, from) in buffer
            .iter_mut()
            .zip(found.received.iter().skip(found.peeked))
        {
            *to = *from;
            count += 1;
        }
        found.peeked += count;
        match found.closed {
            _ if count > 0 => Ok(count),
            Some(Closed::Finished) => Ok(0),
            Some(Closed::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes bytes out of the socket.
    pub(crate) fn consume(&mut self, link: LinkId, count: usize) -> io::Result<()> {
        let found = self
            .links
            .get_mut(&link)
            .ok_or(io::ErrorKind::NotConnected)?;
        if found.received.len() < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        found.received.drain(..count);
        found.peeked = found.peeked.saturating_sub(count);
        Ok(())
    }

    pub(crate) fn peeked(&self, link: LinkId) -> usize {
        self.links.get(&link).map_or(0, |found| found.peeked)
    }

    pub(crate) fn reset_peeked(&mut self, link: LinkId) {
        if let Some(found) = self.links.get_mut(&link) {
            found.peeked = 0;
        }
    }

    pub(crate) const fn room() -> usize {
        PIPE_BYTES
    }

    pub(crate) fn pipe_len(&self, link: LinkId) -> usize {
        self.links.get(&link).map_or(0, |found| found.pipe.len())
    }

    /// Puts bytes into the pipe.
    pub(crate) fn put(&mut self, link: LinkId, bytes: &[u8]) -> io::Result<()> {
        let found = self
            .links
            .get_mut(&link)
            .ok_or(io::ErrorKind::NotConnected)?;
        if found.pipe.len() + bytes.len() > PIPE_BYTES {
            return Err(io::ErrorKind::WriteZero.into());
        }
        found.pipe.extend(bytes);
        Ok(())
    }

    /// Takes bytes out of the pipe, for the socket.
    pub(crate) fn splice(&mut self, link: LinkId, most: usize) -> io::Result<Vec<u8>> {
        let found = self
            .links
            .get_mut(&link)
            .ok_or(io::ErrorKind::NotConnected)?;
        if found.closed == Some(Closed::Reset) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let count = found.pipe.len().min(most);
        Ok(found.pipe.drain(..count).collect())
    }

    /// Whether everything that the peer has sent is taken.
    pub(crate) fn is_drained(&self, link: LinkId) -> bool {
        let found = self.links.get(&link);
        found.is_none_or(|found| found.received.is_empty() && found.to_master.under_way.is_empty())
    }
}

impl Link {
    const fn direction(&mut self, to: End) -> &mut Direction {
        match to {
            End::Master => &mut self.to_master,
            End::Peer => &mut self.to_peer,
        }
    }
}

impl Direction {
    fn push(&mut self, at: u64, segment: Segment) -> u64 {
        self.last_at = self.last_at.max(at);
        self.under_way.push_back(segment);
        self.last_at
    }
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Master => Self::Peer,
            Self::Peer => Self::Master,
        }
    }
}
