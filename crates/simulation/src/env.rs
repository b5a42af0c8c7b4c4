//! What all simulated programs share: one clock, one queue, one stream of chance, one network.

use allexmaster_testkit::chance::Chance;

use crate::agenda::{Agenda, Happening, Job};
use crate::crash::CrashPoints;
use crate::network::{End, LinkId, Network, Peer};
use crate::plan::Plan;
use crate::tools::Tools;

/// The number of a master, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct MasterId(pub(crate) u8);

impl MasterId {
    /// The address that the LanManager sees the master under.
    pub(crate) fn address(self) -> String {
        format!("127.0.0.{}", self.0 + 1)
    }
}

/// All of it.
pub(crate) struct Env {
    /// Milliseconds since the beginning. Never goes back.
    pub(crate) now: u64,
    pub(crate) chance: Chance,
    pub(crate) plan: Plan,
    /// Nothing goes wrong any more.
    pub(crate) is_calm: bool,
    pub(crate) agenda: Agenda,
    pub(crate) network: Network,
    pub(crate) tools: Tools,
    pub(crate) crash_points: CrashPoints,
    /// Counts the forks.
    pub(crate) forks: u64,
    /// Counts the engines of all masters.
    pub(crate) engines: u64,
    /// The first promise that does not hold.
    pub(crate) broken: Option<String>,
}

impl Env {
    /// Something is as it must be, or the run has failed. The first failure counts.
    pub(crate) fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(otherwise());
        }
    }

    /// Something happens after so many milliseconds.
    pub(crate) fn after(&mut self, delay: u64, happening: Happening) {
        self.agenda.enter(self.now + delay, happening);
    }

    /// Something happens after at most so many milliseconds.
    pub(crate) fn soon(&mut self, most: u64, happening: Happening) {
        let delay = self.chance.between(0, most);
        self.after(delay, happening);
    }

    /// An engine does something after at least one millisecond, and at most so many.
    pub(crate) fn soon_in_engine(
        &mut self,
        most: u64,
        (master, engine): (MasterId, u64),
        job: Job,
    ) {
        let delay = self.chance.between(1, most);
        self.after(
            delay,
            Happening::Engine {
                master,
                engine,
                job,
            },
        );
    }

    /// Sends bytes over a stream. Within a machine they are there at once.
    pub(crate) fn send(&mut self, link: LinkId, to: End, bytes: &[u8]) {
        let is_local = !matches!(self.network.ends(link), Some((_, Peer::LanManager { .. })));
        let most = if is_local { 2 } else { 30 };
        let at = self.now + self.chance.between(0, most);
        let arrivals = self.network.send(&mut self.chance, (link, to), at, bytes);
        for (at, end) in arrivals {
            self.agenda.enter(at, Happening::Arrive { link, at: end });
        }
    }

    /// An end of a stream is closed.
    pub(crate) fn close(&mut self, link: LinkId, end: End) {
        let at = self.now + self.chance.between(0, 30);
        if let Some(at) = self.network.close(link, end, at) {
            let at_end = match end {
                End::Master => End::Peer,
                End::Peer => End::Master,
            };
            self.agenda
                .enter(at, Happening::Arrive { link, at: at_end });
        }
    }
}
