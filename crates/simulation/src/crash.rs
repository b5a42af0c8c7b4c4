//! Where the master can be lost, and how.

use std::collections::BTreeSet;

use allexmaster_testkit::chance::Chance;

/// What is lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Loss {
    /// The engine. The connections are held by somebody else, and live on.
    Engine,
    /// The master with all its connections.
    Master,
    /// The machine loses its power.
    Machine,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Engine, Self::Master, Self::Machine];

    /// The name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Master => "master",
            Self::Machine => "machine",
        }
    }
}

/// A place where a crash makes a difference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Point {
    /// Events were taken from the inbox; nothing is written.
    Received,
    /// They are written, and may be on the disk or not.
    Appended,
    /// They are on the disk; nothing is done.
    Durable,
    /// Before an effect.
    Before,
    /// After the last effect.
    After,
    /// A child was forked, and nobody knows of it.
    Forked,
    /// Before an input of the sessions is logged.
    Unlogged,
    /// It is logged, and not taken.
    Logged,
    /// Between two steps of the transfer of bytes.
    Transfer,
}

/// Of the points that a run passes for every few bytes, only each so many-th counts.
const FREQUENT: u64 = 8;

impl Point {
    const fn is_frequent(self) -> bool {
        matches!(self, Self::Unlogged | Self::Logged | Self::Transfer)
    }
}

/// At so many of a thousand points a run crashes, if nothing else is wished.
const USUAL_PERMILLE: u64 = 10;

impl Crashes {
    /// At points that the seed chooses.
    #[must_use]
    pub const fn usual() -> Self {
        Self::Random {
            permille: USUAL_PERMILLE,
        }
    }
}

/// When a run crashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crashes {
    /// Not by itself: only as a fault that the seed has planned.
    Never,
    /// At every point with this chance, in thousandths.
    Random {
        /// How often.
        permille: u64,
    },
    /// At the point of this number, once.
    At {
        /// Counted from 1.
        number: u64,
        /// What is lost there.
        loss: Loss,
    },
}

/// Which event or effect a point belongs to.
pub(crate) type Name = &'static str;

/// The points that a run came by.
#[derive(Debug)]
pub(crate) struct CrashPoints {
    pub(crate) plan: Crashes,
    pub(crate) passed: u64,
    pub(crate) covered: BTreeSet<(Point, Name, Loss)>,
    pub(crate) losses: u64,
}

impl CrashPoints {
    pub(crate) const fn new(plan: Crashes) -> Self {
        Self {
            plan,
            passed: 0,
            covered: BTreeSet::new(),
            losses: 0,
        }
    }

    /// A point is passed. What is lost there, if anything is.
    pub(crate) fn pass(
        &mut self,
        chance: &mut Chance,
        is_calm: bool,
        point: Point,
        name: Name,
    ) -> Option<Loss> {
        self.passed += 1;
        let loss = match self.plan {
            Crashes::Never => None,
            Crashes::Random { permille } => {
                let is_rare = point.is_frequent() && !chance.once_in(FREQUENT);
                (!is_calm && !is_rare && chance.permille(permille)).then(|| some_loss(chance))
            }
            Crashes::At { number, loss } => (number == self.passed).then_some(loss),
        }?;
        self.covered.insert((point, name, loss));
        Some(loss)
    }
}

/// The engine most often: that is what is new.
pub(crate) fn some_loss(chance: &mut Chance) -> Loss {
    let losses = [
        Loss::Engine,
        Loss::Engine,
        Loss::Engine,
        Loss::Master,
        Loss::Master,
        Loss::Machine,
    ];
    chance.pick(&losses, Loss::Engine)
}
