//! The world without faults: all is performed, all is heard, and it comes to rest.

use allexmaster_state::{Activity, Event, Failure, Shutdown};

use crate::lan_manager::Mood;
use crate::promises;
use crate::world::World;

/// So many rounds are far more than any life here needs to come to rest.
const MAX_ROUNDS: u32 = 20_000;
/// A settled world is watched for so many deadlines more.
const DEADLINES_WATCHED: u32 = 12;

impl World {
    /// One round without faults. False where nothing was left to do before the next deadline.
    fn do_all(&mut self) -> bool {
        let mut did_something = false;
        while !self.has_exited()
            && (self.perform_lan(Mood::Fair) || self.perform_machine(0, true) || self.hear(0, 0))
        {
            did_something = true;
        }
        did_something
    }

    /// The faults end, and the world runs until it has come to rest.
    pub(crate) fn settle(&mut self) {
        if self.state.shutdown != Shutdown::No {
            self.run_until_exit();
            self.start_again();
        }
        self.machine.foreign.clear();
        let changed = self.lan_manager.prescribe_nothing();
        self.tell_from_lan(changed);
        if self.was_told_twice {
            let lost = self.lan_manager.lose();
            self.tell_from_lan(lost);
        }
        self.happen(
            Event::SettingsLoaded {
                settings: crate::chaos::roomy(),
            },
            0,
        );
        let held = self.state.services.iter();
        let held = held.filter(|(_, service)| service.hold.is_some());
        for instance in Vec::from_iter(held.map(|(instance, _)| instance.clone())) {
            self.release(instance);
        }
        let mut watched = 0;
        for _ in 0..MAX_ROUNDS {
            if self.do_all() || self.restart_what_failed() {
                continue;
            }
            if promises::is_settled(self) {
                watched += 1;
                if watched > DEADLINES_WATCHED {
                    return;
                }
            }
            if !self.wake(0) {
                return;
            }
        }
        panic!("the world never comes to rest: {:#?}", self.state);
    }

    fn restart_what_failed(&mut self) -> bool {
        let failed = self.state.services.iter().find(|(_, service)| {
            matches!(&service.activity, Activity::Failed { why } if *why != Failure::NoLauncher)
        });
        let Some(instance) = failed.map(|(instance, _)| instance.clone()) else {
            return false;
        };
        self.restart(instance);
        true
    }

    /// Without faults, a stopping master ends.
    pub(crate) fn run_until_exit(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if self.has_exited() {
                return;
            }
            if !self.do_all() && !self.has_exited() && !self.wake(0) {
                break;
            }
        }
        assert!(
            self.has_exited(),
            "a stopping master never ends: {:#?}",
            self.state
        );
    }
}
