//! What will happen when: the one queue of the whole world.

use std::collections::BTreeMap;

use allexmaster_lanmanager::rules::PortsCheck;
use allexmaster_state::{Connection, Event, Identity, Incarnation, Port, Signal, SpawnOrder};

use crate::faults::Fault;
use crate::network::{End, LinkId};

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// The engine looks into its inbox.
    Turn { engine: u64 },
    /// An engine is started, if it is still this life of the master that wants one.
    Start { life: u64 },
    /// A driver of an engine does something, if that engine still lives.
    Driver { engine: u64, deed: Deed },
    /// A process does something, if it still lives.
    Process { identity: Identity, act: Act },
    /// The next packet arrives.
    Deliver { link: LinkId, at: End },
    /// A dial is through.
    Dialed { connection: Connection },
    /// The LanManager has something done, if it is still this run of it.
    LanManager { run: u64, chore: Chore },
    /// The LanManager is started.
    LanManagerStart,
    /// A program of somebody else gives a port back.
    PortIsFreed(Port),
    /// Something goes wrong, or somebody wants something.
    Fault(Fault),
}

/// What a driver does.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Binds ports.
    Probe {
        incarnation: Incarnation,
        ports: Vec<Port>,
    },
    /// Forks.
    Fork(SpawnOrder),
    /// Looks whether ports answer.
    LookReady {
        incarnation: Incarnation,
        ports: Vec<Port>,
    },
    /// Sends a signal.
    Signal { identity: Identity, signal: Signal },
    /// Tells the engine.
    Tell(Event),
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
    Check { check: PortsCheck, ports: Vec<u16> },
    /// Writes the runtime needs.
    Write,
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
