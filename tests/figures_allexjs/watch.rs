//! A LanManager in this process, and an observer of its list of services.

use std::path::Path;
use std::time::{Duration, Instant};

use allexmaster_lanmanager::Door;
use allexmaster_testkit::lan::{Lan, needs};
use allexmaster_testkit::tool::{Held, Tool};

/// Even the slowest master has moved something by then.
const TIMEOUT: Duration = Duration::from_secs(300);

pub(crate) struct Watch {
    lan: Lan,
    services: Held,
}

impl Watch {
    /// Starts a LanManager that needs so many services of the time, named `Time0` and so on.
    pub(crate) fn start(folder: &Path, count: u16) -> Self {
        let needs = needs(usize::from(count), "Time", "allex_timeservice");
        let lan = Lan::start_in(folder, &needs);
        let tool = Tool::services(lan.port_of(Door::Tcp)).unwrap();
        let services = Held::open(tool).unwrap();
        Self { lan, services }
    }

    pub(crate) fn port(&self, door: Door) -> u16 {
        self.lan.port_of(door)
    }

    /// The moment at which so many services are listed.
    pub(crate) fn listed(&mut self, count: u16) -> Instant {
        self.wait_until(|services| services.rows().len() == usize::from(count))
    }

    /// The moment at which a service that was killed is listed again.
    pub(crate) fn listed_again(&mut self, instance: &str) -> Instant {
        let is_listed = |services: &Held| {
            let mut rows = services.rows().into_iter();
            rows.any(|row| row.starts_with(&format!("{instance} ")))
        };
        self.wait_until(|services| !is_listed(services));
        self.wait_until(is_listed)
    }

    fn wait_until(&mut self, fits: impl Fn(&Held) -> bool) -> Instant {
        let began = Instant::now();
        while !fits(&self.services) {
            assert!(began.elapsed() < TIMEOUT, "nothing happens any more");
            self.services.next_change_within(TIMEOUT).unwrap();
        }
        Instant::now()
    }

    pub(crate) fn end(mut self) {
        self.lan.stop();
    }
}

pub(crate) fn name(number: u16) -> String {
    format!("Time{number}")
}
