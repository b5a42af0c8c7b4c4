//! Port leases: no two children hold the same port, and a freed one cools down.
//!
//! Each protocol has a range. A port of it is in exactly one of four places:
//! never given out (at or above the range's watermark), leased, blocked until a
//! deadline (cooling down after use, or found in somebody else's hands), or
//! released. The first free port is then the lowest released one, or else the
//! watermark: no search, however many ports are in use.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Deadline, Deadlines, Incarnation, PerProtocol, Port, Protocol, Settings, Timestamp};

/// All that is known of the machine's ports.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ports {
    pools: PerProtocol<Pool>,
    leases: BTreeMap<Port, Incarnation>,
    blocked: BTreeMap<Port, Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Pool {
    /// The first port of the range.
    first: u32,
    /// The first port after the range.
    end: u32,
    /// From here on, no port was ever given out.
    watermark: u32,
    /// Given out before, and free again.
    released: BTreeSet<Port>,
}

impl Pool {
    fn new(first: u16, size: u16) -> Self {
        let first = u32::from(first);
        let end = (first + u32::from(size)).min(u32::from(u16::MAX) + 1);
        Self {
            first,
            end,
            watermark: first,
            released: BTreeSet::new(),
        }
    }

    fn gave_out(&self, port: Port) -> bool {
        (self.first..self.watermark).contains(&u32::from(port.0))
    }
}

impl Ports {
    /// Takes over the configured ranges; what is leased or blocked stays so.
    pub(crate) fn configure(&mut self, settings: &Settings) {
        let start = &settings.port_range_start;
        let size = settings.port_range_size;
        self.pools = PerProtocol {
            tcp: Pool::new(start.tcp, size),
            http: Pool::new(start.http, size),
            ws: Pool::new(start.ws, size),
        };
    }

    /// Leases the first free port of a protocol's range; `None` where the range is full.
    pub(crate) fn take(&mut self, protocol: Protocol, holder: Incarnation) -> Option<Port> {
        loop {
            let pool = self.pools.get_mut(protocol);
            let port = if let Some(port) = pool.released.pop_first() {
                port
            } else {
                let port = u16::try_from(pool.watermark).ok().map(Port)?;
                if pool.watermark >= pool.end {
                    return None;
                }
                pool.watermark += 1;
                port
            };
            // Ranges may overlap, and leases may be older than the ranges.
            if !self.leases.contains_key(&port) && !self.blocked.contains_key(&port) {
                self.lease(port, holder);
                return Some(port);
            }
        }
    }

    /// Leases exactly this port, which a need prescribes. A cooling port may be
    /// taken: it is the same service that comes back. False where a child holds it.
    pub(crate) fn take_exactly(
        &mut self,
        port: Port,
        holder: Incarnation,
        deadlines: &mut Deadlines,
    ) -> bool {
        if self.leases.contains_key(&port) {
            return false;
        }
        if let Some(until) = self.blocked.remove(&port) {
            deadlines.shift(Deadline::PortUsable(port), Some(until), None);
        }
        self.lease(port, holder);
        true
    }

    /// A leased port is free in no range, not even in one that overlaps.
    fn lease(&mut self, port: Port, holder: Incarnation) {
        for protocol in Protocol::ALL {
            self.pools.get_mut(protocol).released.remove(&port);
        }
        self.leases.insert(port, holder);
    }

    /// Ends a lease; the port is not given out again before `until`.
    pub(crate) fn block(&mut self, port: Port, until: Timestamp, deadlines: &mut Deadlines) {
        if self.leases.remove(&port).is_some() {
            self.blocked.insert(port, until);
            deadlines.shift(Deadline::PortUsable(port), None, Some(until));
        }
    }

    /// Keeps all blocked ports blocked for so many milliseconds more.
    pub(crate) fn postpone(&mut self, by: u64, deadlines: &mut Deadlines) {
        for (port, until) in &mut self.blocked {
            let before = *until;
            *until = before.plus(by);
            deadlines.shift(Deadline::PortUsable(*port), Some(before), Some(*until));
        }
    }

    /// Ends a lease of a port that was never used.
    pub(crate) fn give_back(&mut self, port: Port) {
        if self.leases.remove(&port).is_some() {
            self.make_available(port);
        }
    }

    /// A blocked port may be given out again.
    pub(crate) fn unblock(&mut self, port: Port) {
        if self.blocked.remove(&port).is_some() {
            self.make_available(port);
        }
    }

    fn make_available(&mut self, port: Port) {
        for protocol in Protocol::ALL {
            // Ranges that overlap share the port: where it returned to one of them only, the
            // others would run dry.
            let pool = self.pools.get_mut(protocol);
            if pool.gave_out(port) {
                pool.released.insert(port);
            }
        }
    }

    /// The leased ports, each with the child that holds it.
    pub fn leases(&self) -> impl Iterator<Item = (Port, Incarnation)> + '_ {
        self.leases.iter().map(|(port, holder)| (*port, *holder))
    }

    /// The ports that are not given out for now, each with the end of its time.
    pub fn blocked(&self) -> impl Iterator<Item = (Port, Timestamp)> + '_ {
        self.blocked.iter().map(|(port, until)| (*port, *until))
    }

    /// The released ports of a protocol's range.
    pub(crate) fn released(&self, protocol: Protocol) -> impl Iterator<Item = Port> + '_ {
        self.pools.get(protocol).released.iter().copied()
    }
}
