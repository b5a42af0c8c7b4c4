//! What will happen when: the one queue of all programs.

use std::collections::BTreeMap;

use allexmaster_lanmanager::rules::PortsCheck;
use allexmaster_sessions::ConnectionName;
use allexmaster_state::RequestId;
use allexmaster_state::{Connection, Event, Identity, Incarnation, Port, Signal, SpawnOrder};

use crate::env::MasterId;
use crate::faults::Fault;
use crate::network::{End, LinkId};

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// An engine is started, if it is still this life of the master that wants one.
    Start {
        master: MasterId,
        life: u64,
    },
    /// An engine does something, if it still lives.
    Engine {
        master: MasterId,
        engine: u64,
        job: Job,
    },
    /// A process does something, if it still lives.
    Process {
        master: MasterId,
        identity: Identity,
        act: Act,
    },
    /// The next segment arrives.
    Arrive {
        link: LinkId,
        at: End,
    },
    /// A tool looks at what its master publishes, if there is none that does.
    Watch {
        master: MasterId,
    },
    /// A tool hangs up.
    ToolLeaves(LinkId),
    /// The LanManager has something done, if it is still this run of it.
    LanManager {
        run: u64,
        chore: Chore,
    },
    LanManagerStart,
    /// A program of somebody else gives a port back.
    PortIsFreed {
        master: MasterId,
        port: Port,
    },
    /// The disk of a master works again.
    DiskWorks(MasterId),
    /// Something goes wrong, or somebody wants something.
    Fault(Fault),
}

/// What an engine does.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Looks into its inbox.
    Turn,
    /// Moves the bytes of a connection.
    Pump(ConnectionName),
    /// A connection that is to end has had the time to send the rest.
    Expire(ConnectionName),
    /// Takes in a local peer that the keeper has accepted.
    TakeIn(ConnectionName),
    /// A dial is through, or failed.
    Dial(Connection),
    /// A question about the state is answered.
    Answer(RequestId),
    /// Binds ports.
    Probe {
        incarnation: Incarnation,
        ports: Vec<Port>,
    },
    Fork(SpawnOrder),
    /// Looks whether a child is ready.
    LookReady {
        incarnation: Incarnation,
        ports: Vec<Port>,
    },
    Signal {
        identity: Identity,
        signal: Signal,
    },
    /// A driver reports.
    Report(Event),
    /// The connections had the time to send the rest: the master ends.
    End,
}

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// It listens on its ports.
    Listen,
    /// It lives, but says that it serves nobody.
    ServeNobody,
    /// It ends by itself with this code.
    Exit(i32),
    /// A signal takes effect.
    Die(i32),
}

/// What the LanManager has others do.
#[derive(Clone, Debug)]
pub(crate) enum Chore {
    /// Checks ports.
    Check {
        check: PortsCheck,
        address: std::net::IpAddr,
        ports: Vec<u16>,
    },
    /// Writes the runtime needs.
    Write,
    /// Everybody who stood at its doors after the start is in.
    CatchUp,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BTreeMap<(u64, u64), Happening>,
    count: u64,
}

impl Agenda {
    /// Enters something for a time; of the same time, what was entered first comes first.
    pub(crate) fn enter(&mut self, at: u64, happening: Happening) {
        self.count += 1;
        self.entries.insert((at, self.count), happening);
    }

    /// When the next one is due.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next one.
    pub(crate) fn pop(&mut self) -> Option<Happening> {
        self.entries.pop_first().map(|(_, happening)| happening)
    }

    /// Takes all faults back.
    pub(crate) fn forget_faults(&mut self) {
        self.entries
            .retain(|_, happening| !matches!(happening, Happening::Fault(_)));
    }
}
