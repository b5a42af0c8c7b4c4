//! Port leases: no two children hold the same port, and a freed one cools down.
//!
//! Each protocol has a range. A port of it is in exactly one of five places:
//! never given out (at or above the range's watermark), leased, blocked until a
//! deadline (it cools down after use), foreign (in another program's hands, until
//! the driver tells that it is free), or released. The first free port is then the lowest released one, or else the
//! watermark: no search, however many ports are in use.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{
    Deadline, Deadlines, Incarnation, PerProtocol, Pid, Port, Protocol, Settings, Timestamp,
};

/// All that is known of the machine's ports.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ports {
    pools: PerProtocol<Pool>,
    leases: BTreeMap<Port, Incarnation>,
    blocked: BTreeMap<Port, Timestamp>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    foreign: BTreeMap<Port, Option<Holder>>,
}

/// A program that is not ours and listens on a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    pub pid: Pid,
    /// Its name, as the system has it.
    pub name: Arc<str>,
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

    /// Its ports from a number on; `None` where there is none.
    fn ports_from(&self, first: u32) -> Option<RangeInclusive<Port>> {
        let last = u16::try_from(self.end.checked_sub(1)?).ok()?;
        let first = u16::try_from(first).ok().filter(|first| *first <= last)?;
        Some(Port(first)..=Port(last))
    }

    fn gave_out(&self, port: Port) -> bool {
        (self.first..self.watermark).contains(&u32::from(port.0))
    }
}

/// What the ports of a range that are not free are used for.
#[derive(Default)]
pub(crate) struct InUse<'ports> {
    pub(crate) leased: usize,
    pub(crate) cooling: Vec<Timestamp>,
    pub(crate) foreign: Vec<(Port, Option<&'ports Holder>)>,
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
            if !self.is_held(port) && !self.blocked.contains_key(&port) {
                self.lease(port, holder);
                return Some(port);
            }
        }
    }

    /// Leases exactly this port, which a need prescribes. A cooling port may be
    /// taken: it is the same service that comes back. False where somebody holds it.
    pub(crate) fn take_exactly(
        &mut self,
        port: Port,
        holder: Incarnation,
        deadlines: &mut Deadlines,
    ) -> bool {
        if self.is_held(port) {
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

    /// A leased port turned out to be in another program's hands.
    pub(crate) fn found_foreign(&mut self, port: Port, holder: Option<Holder>) {
        if self.leases.remove(&port).is_some() {
            self.foreign.insert(port, holder);
        }
    }

    /// The other program has left a port.
    pub(crate) fn left(&mut self, port: Port) {
        if self.foreign.remove(&port).is_some() {
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

    /// Whether a child, or another program, has the port.
    #[must_use]
    pub fn is_held(&self, port: Port) -> bool {
        self.leases.contains_key(&port) || self.foreign.contains_key(&port)
    }

    /// The first port of a protocol's range, and the first one after it.
    #[must_use]
    pub fn range(&self, protocol: Protocol) -> (u32, u32) {
        let pool = self.pools.get(protocol);
        (pool.first, pool.end)
    }

    /// How many ports of a protocol's range can be leased now.
    #[must_use]
    pub fn free(&self, protocol: Protocol) -> usize {
        let pool = self.pools.get(protocol);
        let Some(fresh) = pool.ports_from(pool.watermark) else {
            return pool.released.len();
        };
        // None of the three, but where ranges overlap or were changed.
        let held = self.leases.range(fresh.clone()).count()
            + self.blocked.range(fresh.clone()).count()
            + self.foreign.range(fresh.clone()).count();
        let fresh = usize::from(fresh.end().0 - fresh.start().0) + 1;
        pool.released.len() + fresh.saturating_sub(held)
    }

    /// How many ports of a protocol's range are leased; those that cool down, each with the end of
    /// its time; and those of other programs.
    pub(crate) fn in_use(&self, protocol: Protocol) -> InUse<'_> {
        let pool = self.pools.get(protocol);
        let Some(all) = pool.ports_from(pool.first) else {
            return InUse::default();
        };
        InUse {
            leased: self.leases.range(all.clone()).count(),
            cooling: self.blocked.range(all.clone()).map(|(_, at)| *at).collect(),
            foreign: self
                .foreign
                .range(all)
                .map(|(port, who)| (*port, who.as_ref()))
                .collect(),
        }
    }

    /// The ports that other programs have.
    pub fn foreign(&self) -> impl Iterator<Item = (Port, Option<&Holder>)> + '_ {
        self.foreign
            .iter()
            .map(|(port, holder)| (*port, holder.as_ref()))
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
