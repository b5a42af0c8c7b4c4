//! A LanManager in this process, and the built master beside it.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster::daemon::boot::journal_folder;
use allexmaster::machine::Rules;
use allexmaster::status::{ServiceDocument, StatusDocument};
use allexmaster_journal::{JournaledMachine, MAX_BATCH, Options as JournalOptions, SystemClock};
use allexmaster_state::{Event, ModuleName};
use allexmaster_testkit::lan::{Lan, needs};
use allexmaster_testkit::master::{Master, is_served};
use allexmaster_testkit::processes::{Signal, memory, processor_seconds, signal, thread_seconds};
use allexmaster_testkit::report;
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

use crate::service::Service;

/// The pause between two questions to the master: each answer has all services, so asking more
/// often would measure the asking.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How many more ports of each protocol there are than services: killed ones cool down.
const SPARE_PORTS: u16 = 60;

pub(crate) struct World {
    _lan: Lan,
    master: Master,
    needs: u16,
    started: Instant,
    /// The process of each service before the master was killed.
    before: BTreeMap<String, u32>,
}

/// How long it took from the start of a master until something was so of all services.
pub(crate) struct Progress {
    pub(crate) answers: Duration,
    pub(crate) spawned: Duration,
    pub(crate) approved: Duration,
}

impl World {
    pub(crate) fn start(service: &Service, count: u16) -> Self {
        let lan = Lan::start(&needs(usize::from(count), "Clock", service.module()));
        let more = json!({
            "launchers": service.launchers(),
            "limits": { "portrangesize": count + SPARE_PORTS },
        });
        let mut world = Self {
            master: Master::new(lan.port, more),
            _lan: lan,
            needs: count,
            started: Instant::now(),
            before: BTreeMap::new(),
        };
        world.start_master();
        world
    }

    fn start_master(&mut self) {
        self.started = Instant::now();
        self.master.start_kept(&[]);
    }

    fn status(&self) -> Option<StatusDocument> {
        // An answer of an earlier master would come from another process.
        self.master
            .status()
            .filter(|status| status.pid == self.master.pid())
    }

    fn wait_until(&self, fits: impl Fn(&ServiceDocument) -> bool) -> Duration {
        loop {
            let fitting = self.status().map(|status| {
                status
                    .services
                    .iter()
                    .filter(|service| fits(service))
                    .count()
            });
            if fitting == Some(usize::from(self.needs)) {
                return self.started.elapsed();
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Waits until all is served.
    pub(crate) fn progress(&self) -> Progress {
        while self.status().is_none() {
            sleep(LOOK_EVERY);
        }
        Progress {
            answers: self.started.elapsed(),
            spawned: self.wait_until(|service| service.pid.is_some()),
            approved: self.wait_until(is_served),
        }
    }

    /// The resident memory of keeper and engine, in KiB.
    pub(crate) fn memory(&self) -> [u64; 2] {
        [self.master.pid(), self.master.engine()].map(memory)
    }

    /// Prints the processor time of each program since its start.
    pub(crate) fn print_processor_time(&self) {
        // This process does nothing but serve as the LanManager and ask for the status.
        let own = processor_seconds(std::process::id());
        let asking = thread_seconds();
        for (who, (user, system)) in [
            ("keeper", processor_seconds(self.master.pid())),
            ("engine", processor_seconds(self.master.engine())),
            ("LanManager, so far", (own.0 - asking.0, own.1 - asking.1)),
        ] {
            let times = format!("{user:.2} s + {system:.2} s");
            report::row(&format!("  processor time, user + system: {who}"), &times);
        }
    }

    /// Kills children one after the other: the time until another child is approved, of each.
    pub(crate) fn back_after_a_kill(&self, times: usize) -> Vec<f64> {
        let back = |number| {
            let name = format!("Clock{number}");
            let before = self.master.service(&name).unwrap().pid.unwrap();
            let begin = Instant::now();
            signal(before, Signal::KILL);
            self.master.wait_for_other(&name, before);
            begin.elapsed().as_secs_f64()
        };
        (0..times).map(back).collect()
    }

    /// Kills keeper and engine.
    pub(crate) fn kill_master(&mut self) {
        self.before = self.processes();
        self.master.kill_both();
    }

    fn processes(&self) -> BTreeMap<String, u32> {
        let services = self.status().unwrap().services.into_iter();
        services
            .map(|service| (service.instancename, service.pid.unwrap()))
            .collect()
    }

    /// Adds events to the journal as if the master had lived so much longer, and leaves it as
    /// a kill leaves it: without a checkpoint of its end.
    pub(crate) fn add_events(&self, count: usize) {
        let folder = journal_folder(self.master.folder.path());
        // A killed process lets go of its files a moment after it is seen to be dead.
        let (mut live, _) = wait_for("the journal to be free", || {
            JournaledMachine::<Rules>::open(&folder, JournalOptions::default()).ok()
        });
        let mut clock = SystemClock;
        let mut left = count;
        while left > 0 {
            let batch = left.min(MAX_BATCH);
            let module = ModuleName::from("allex_timeservice");
            let event = Event::ModuleEngaged { module };
            live.commit(&mut clock, vec![event; batch]).unwrap();
            live.maintain().unwrap();
            left -= batch;
        }
    }

    /// Starts the master again after it was killed.
    pub(crate) fn restart(&mut self) -> Progress {
        self.start_master();
        self.progress()
    }

    /// How many services have another process than before the kill.
    pub(crate) fn wrong_children(&self) -> usize {
        let now = self.processes();
        let differing = self
            .before
            .iter()
            .filter(|(name, pid)| now.get(*name) != Some(pid));
        differing.count() + now.len().abs_diff(self.before.len())
    }

    pub(crate) fn stop(&mut self) -> Duration {
        let begin = Instant::now();
        self.master.stop();
        begin.elapsed()
    }
}
