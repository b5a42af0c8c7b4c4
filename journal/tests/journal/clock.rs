//! A clock that is set by years, in the middle of everything.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use allexmaster_journal::runner;
use allexmaster_journal::store::FakeDisk;
use allexmaster_journal::{
    Clock, Error, JournaledMachine, Jump, Options, Performer, SteadyClock, TimeSource, Wall,
};
use proptest::prelude::*;

use crate::support::{Effect, Event, Shelf, State};

const START: u64 = 1_800_000_000_000;
const YEAR: u64 = 365 * 24 * 3_600_000;
/// So far is a clock set by chance.
const CENTURIES: i64 = 10_000_000_000_000;

/// Times that a test sets.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(u64, u64)>>);

impl Script {
    fn new() -> Self {
        let script = Self::default();
        script.0.lock().unwrap().0 = START;
        script
    }

    /// Time passes.
    fn pass(&self, milliseconds: u64) {
        let mut times = self.0.lock().unwrap();
        times.0 += milliseconds;
        times.1 += milliseconds;
    }

    /// Somebody sets the clock.
    fn set(&self, by: i64) {
        let mut times = self.0.lock().unwrap();
        times.0 = times.0.saturating_add_signed(by);
    }

    fn wall_now(&self) -> u64 {
        self.0.lock().unwrap().0
    }
}

impl TimeSource for Script {
    fn wall(&mut self) -> u64 {
        self.wall_now()
    }

    fn passed(&mut self) -> u64 {
        self.0.lock().unwrap().1
    }
}

#[test]
fn a_clock_that_is_set_back_by_a_year_stops_nothing() {
    let script = Script::new();
    let mut clock = SteadyClock::new(script.clone());
    script.set(-(YEAR as i64));
    assert_eq!(clock.now().0, START);
    assert_eq!(clock.jump(), Some(Jump::Back(YEAR)));
    script.pass(10_000);
    assert_eq!(clock.now().0, START + 9_000, "a tenth slower");
    assert_eq!(clock.jump(), None, "told once");
}

#[test]
fn a_clock_that_was_set_back_a_little_is_caught_up_with() {
    let script = Script::new();
    let mut clock = SteadyClock::new(script.clone());
    script.set(-5_000);
    for _ in 0..60 {
        script.pass(1_000);
        clock.now();
    }
    assert_eq!(clock.now().0, script.wall_now());
    script.set(-5_000);
    clock.now();
    assert_eq!(
        clock.jump(),
        Some(Jump::Back(5_000)),
        "the next one is told again"
    );
}

#[test]
fn a_clock_that_is_set_forward_is_followed_and_told() {
    let script = Script::new();
    let mut clock = SteadyClock::new(script.clone());
    script.pass(500);
    script.set(YEAR as i64);
    assert_eq!(clock.now().0, START + 500 + YEAR);
    assert_eq!(clock.jump(), Some(Jump::Forward(YEAR)));
    script.set(200);
    assert_eq!(clock.now().0, START + 700 + YEAR);
    assert_eq!(clock.jump(), None, "what a time server corrects is no jump");
}

#[test]
fn a_start_with_a_clock_behind_the_journal_goes_on_from_the_journal() {
    let script = Script::new();
    let mut clock = SteadyClock::new(script.clone());
    clock.not_before(Wall(START + YEAR));
    script.pass(10);
    assert_eq!(clock.now().0, START + YEAR + 9);
    assert_eq!(clock.jump(), Some(Jump::Back(YEAR)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn time_never_goes_back_and_always_goes_on(
        steps in proptest::collection::vec((any::<bool>(), -CENTURIES..CENTURIES, 0_u64..100_000), 1..50),
    ) {
        let script = Script::new();
        let mut clock = SteadyClock::new(script.clone());
        for (set, by, pass) in steps {
            if set {
                script.set(by);
            }
            let before = clock.now();
            script.pass(pass);
            let after = clock.now();
            prop_assert!(after >= before.plus(pass - pass / 10));
        }
    }
}

/// Writes down when it was rung.
#[derive(Clone, Default)]
struct Bell {
    rung: Arc<Mutex<Vec<u64>>>,
    jumps: Arc<Mutex<Vec<Jump>>>,
}

impl Performer<Shelf> for Bell {
    type Exit = ();

    fn perform(&mut self, effect: Effect) -> ControlFlow<()> {
        match effect {
            Effect::Ring { at } => self.rung.lock().unwrap().push(at),
            Effect::Tell { .. } => {}
            Effect::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn settled(&mut self, _state: &State) {}

    fn clock_jumped(&mut self, jump: Jump) {
        self.jumps.lock().unwrap().push(jump);
    }

    fn journal_failed(&mut self, _error: &Error) {}
}

#[test]
fn a_deadline_waits_its_own_time_whatever_is_done_to_the_clock() {
    for by in [YEAR as i64, -(YEAR as i64), 3_600_000, -3_600_000] {
        let (script, bell) = (Script::new(), Bell::default());
        let place = Box::new(FakeDisk::new());
        let (live, _) = JournaledMachine::<Shelf>::at(place, Options::default()).unwrap();
        let (inbox, mailbox) = runner::inbox(10);
        let clock = SteadyClock::new(script.clone());
        let thread = runner::start(live, mailbox, clock, bell.clone()).unwrap();
        let look = || {
            inbox
                .blocking_look(|state| (state.rung, state.alarm))
                .unwrap()
        };
        inbox
            .blocking_send(Event::AlarmSet { at: START + 50 })
            .unwrap();
        look();
        script.set(by);
        while bell.jumps.lock().unwrap().is_empty() {
            look();
        }
        script.pass(40);
        for _ in 0..10 {
            assert_eq!(look().0, 0, "not before its time has passed, {by}");
        }
        script.pass(20);
        while look().0 == 0 {
            std::thread::yield_now();
        }
        inbox.blocking_send(Event::Stop).unwrap();
        thread.join().unwrap().unwrap();
        let jump = match u64::try_from(by) {
            Ok(by) => Jump::Forward(by),
            Err(_) => Jump::Back(by.unsigned_abs()),
        };
        assert_eq!(*bell.jumps.lock().unwrap(), [jump]);
        assert_eq!(bell.rung.lock().unwrap().len(), 1);
    }
}
