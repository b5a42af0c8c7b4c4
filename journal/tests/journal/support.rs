//! A small machine to journal, and a clock that obeys.

use std::collections::BTreeMap;

use allexmaster_journal::{Clock, Machine, Stamp, Wall};
use serde::{Deserialize, Serialize};

/// A shelf of things, which remembers everything that could differ in a replay.
#[derive(Debug)]
pub(crate) struct Shelf;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) things: BTreeMap<String, u64>,
    pub(crate) events: u64,
    pub(crate) last_at: u64,
    pub(crate) noise: u64,
    pub(crate) alarm: Option<u64>,
    pub(crate) rung: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    Put { name: String, number: u64 },
    Taken { name: String },
    AlarmSet { at: u64 },
    DeadlineReached,
    Stop,
    ClockJumped { by: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effect {
    Tell { sequence: u64 },
    Ring { at: u64 },
    Stop,
}

impl Machine for Shelf {
    type State = State;
    type Event = Event;
    type Effect = Effect;
    type Time = Wall;

    const PROGRAM: &'static str = "shelf";
    const STEP_VERSION: u32 = 1;

    fn kind(event: &Event) -> u16 {
        match event {
            Event::Put { .. } => 1,
            Event::Taken { .. } => 2,
            Event::AlarmSet { .. } => 3,
            Event::DeadlineReached => 4,
            Event::Stop => 5,
            Event::ClockJumped { .. } => 6,
        }
    }

    fn step(mut state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
        state.events += 1;
        state.last_at = stamp.at.0;
        state.noise = state.noise.wrapping_mul(31) + u64::from(stamp.entropy);
        let tell = Effect::Tell {
            sequence: stamp.sequence,
        };
        let effects = match event {
            Event::Put { name, number } => {
                state.things.insert(name, number);
                vec![tell]
            }
            Event::Taken { name } => {
                state.things.remove(&name);
                vec![tell]
            }
            Event::AlarmSet { at } => {
                state.alarm = Some(at);
                vec![tell]
            }
            Event::DeadlineReached => match state.alarm {
                Some(at) if at <= stamp.at.0 => {
                    state.alarm = None;
                    state.rung += 1;
                    vec![Effect::Ring { at: stamp.at.0 }]
                }
                Some(_) | None => vec![],
            },
            Event::Stop => vec![Effect::Stop],
            Event::ClockJumped { by } => {
                state.alarm = state.alarm.map(|at| at.saturating_add(by));
                vec![]
            }
        };
        (state, effects)
    }

    fn next_deadline(state: &State) -> Option<Wall> {
        state.alarm.map(Wall)
    }

    fn deadline_reached() -> Event {
        Event::DeadlineReached
    }

    fn clock_jumped(by: u64) -> Option<Event> {
        Some(Event::ClockJumped { by })
    }
}

/// Time that passes by one millisecond with each look, and numbers for noise.
#[derive(Clone, Debug)]
pub(crate) struct TestClock {
    pub(crate) now: u64,
    pub(crate) noise: u32,
}

impl Default for TestClock {
    fn default() -> Self {
        Self {
            now: 1_700_000_000_000,
            noise: 0,
        }
    }
}

impl Clock for TestClock {
    fn now(&mut self) -> Wall {
        self.now += 1;
        Wall(self.now)
    }

    fn entropy(&mut self) -> u32 {
        self.noise = self
            .noise
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        self.noise
    }
}

pub(crate) fn put(number: u64) -> Event {
    Event::Put {
        name: format!("thing {}", number % 10),
        number,
    }
}
