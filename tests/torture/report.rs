//! What was done, and how long it took to be served again.

use std::collections::BTreeMap;
use std::time::Duration;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Count {
    EnginesKilled,
    EnginesKilledComingBack,
    EnginesStopped,
    KeepersKilled,
    BothKilled,
    LanManagersKilled,
    LanManagersStopped,
    ChildrenKilled,
    ChildrenStopped,
    ServicesRestarted,
    DisksFilled,
    JournalsUnwritable,
    Calls,
    QuietPoints,
    RoundsUnnoticed,
}

impl Count {
    const ALL: [Self; 15] = [
        Self::EnginesKilled,
        Self::EnginesKilledComingBack,
        Self::EnginesStopped,
        Self::KeepersKilled,
        Self::BothKilled,
        Self::LanManagersKilled,
        Self::LanManagersStopped,
        Self::ChildrenKilled,
        Self::ChildrenStopped,
        Self::ServicesRestarted,
        Self::DisksFilled,
        Self::JournalsUnwritable,
        Self::Calls,
        Self::QuietPoints,
        Self::RoundsUnnoticed,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::EnginesKilled => "engines killed with -9",
            Self::EnginesKilledComingBack => "  of these while they came back from a kill",
            Self::EnginesStopped => "engines stopped and continued",
            Self::KeepersKilled => "keepers killed with -9, then their engines, then started anew",
            Self::BothKilled => "keepers and engines killed with -9 at once, then started anew",
            Self::LanManagersKilled => "LanManagers killed with -9 and started anew",
            Self::LanManagersStopped => "LanManagers stopped and continued",
            Self::ChildrenKilled => "children killed with -9",
            Self::ChildrenStopped => "children stopped and continued",
            Self::ServicesRestarted => "services restarted by a call",
            Self::DisksFilled => "disks filled, and room made again",
            Self::JournalsUnwritable => "  of these until the journal could not be written",
            Self::Calls => "calls answered, each once",
            Self::QuietPoints => "quiet points at which everything was compared",
            Self::RoundsUnnoticed => "  of these after kills of engines alone, that nobody noticed",
        }
    }
}

/// The counts of a run.
#[derive(Default)]
pub(crate) struct Report {
    counts: BTreeMap<Count, u64>,
    /// From each kill of an engine until a call on a connection from before was answered.
    served_again: Vec<Duration>,
    /// The same for each new start after the keeper was killed.
    started_anew: Vec<Duration>,
}

impl Report {
    pub(crate) fn add(&mut self, count: Count, number: u64) {
        *self.counts.entry(count).or_default() += number;
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.counts.get(&count).copied().unwrap_or_default()
    }

    pub(crate) fn served_again(&mut self, after: Duration) {
        self.served_again.push(after);
    }

    pub(crate) fn started_anew(&mut self, after: Duration) {
        self.started_anew.push(after);
    }

    pub(crate) fn print(&self) {
        for count in Count::ALL {
            println!("{:<72} {:>9}", count.words(), self.count(count));
        }
        times(
            "engine killed: served again on a connection from before",
            &self.served_again,
        );
        times(
            "keeper and engine killed: the new master answers",
            &self.started_anew,
        );
    }
}

fn times(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let median = milliseconds(sorted.get(sorted.len() / 2));
    let most = milliseconds(sorted.last());
    println!(
        "{what:<72} median {median:.1} ms, longest of {} {most:.1} ms",
        sorted.len()
    );
}
