//! The life of a machine as lanes over time, for a page that a person can mail.

mod build;
mod html;
mod svg;

use allexmaster_state::InstanceName;

pub use build::build;
pub use html::html;
pub use svg::svg;

/// What a bar says; each has its own colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// It waits for something outside.
    Waiting,
    /// The LanManager has been offered it.
    Bidding,
    /// Its child is being started.
    Starting,
    /// The LanManager checks its ports.
    Checking,
    /// All is well: it runs, is connected, is up.
    Running,
    /// Its child was asked to end.
    Stopping,
    /// It failed, and is started again after a pause.
    BackingOff,
    /// It failed for good, or the connection is away.
    Failed,
}

impl Sort {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Bidding,
        Self::Starting,
        Self::Checking,
        Self::Running,
        Self::Stopping,
        Self::BackingOff,
        Self::Failed,
    ];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Bidding => "bidding",
            Self::Starting => "starting",
            Self::Checking => "checking",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::BackingOff => "backing off",
            Self::Failed => "failed or away",
        }
    }

    /// Its colour. Chosen to be told apart also by those who do not tell red from green: they differ
    /// in lightness too.
    #[must_use]
    pub const fn colour(self) -> &'static str {
        match self {
            Self::Waiting => "#c9ced6",
            Self::Bidding => "#a9b8e8",
            Self::Starting => "#6f9be8",
            Self::Checking => "#8fd0d8",
            Self::Running => "#2f9e6e",
            Self::Stopping => "#b39ddb",
            Self::BackingOff => "#f0a63a",
            Self::Failed => "#c8372d",
        }
    }
}

/// A time during which nothing changed in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    pub sort: Sort,
    /// From when on, in milliseconds since the Unix epoch.
    pub from: u64,
    pub to: u64,
    /// The event that began it.
    pub sequence: u64,
    pub cause: String,
    /// What is to be known of it: a process, a reason.
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub name: String,
    /// What stands under the name.
    pub about: String,
    /// Its bars, in their order.
    pub bars: Vec<Bar>,
    /// Bad news, to be marked: when, which event, and what.
    pub marks: Vec<(u64, u64, String)>,
}

/// All lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    pub from: u64,
    pub to: u64,
    /// The master, the LanManager, then each service by its name.
    pub lanes: Vec<Lane>,
    pub events: u64,
    /// Lanes that were left out, because the page has a limit.
    pub left_out: Vec<InstanceName>,
}
