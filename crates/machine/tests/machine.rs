//! What the machines of the project rely on: arithmetic of times, stamps, and the recorded forms that
//! a machine has where it says nothing itself.

use allexmaster_machine::{Machine, Mono, Stamp, Time, Wall};
use serde::{Deserialize, Serialize};

/// Adds what it is sent; every method with a default is left at it.
struct Adder;

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
enum Event {
    Added(u32),
    DeadlineReached,
}

impl Machine for Adder {
    type State = u32;
    type Event = Event;
    type Effect = ();
    type Time = Wall;

    const PROGRAM: &'static str = "adder";
    const STEP_VERSION: u32 = 7;

    fn kind(event: &Event) -> u16 {
        match event {
            Event::Added(_) => 1,
            Event::DeadlineReached => 2,
        }
    }

    fn step(state: u32, _stamp: Stamp, event: Event) -> (u32, Vec<()>) {
        match event {
            Event::Added(by) => (state.wrapping_add(by), Vec::new()),
            Event::DeadlineReached => (state, Vec::new()),
        }
    }

    fn next_deadline(_state: &u32) -> Option<Wall> {
        None
    }

    fn deadline_reached() -> Event {
        Event::DeadlineReached
    }
}

fn a_clock_stops_at_its_ends<T: Time>(plus: fn(T, u64) -> T, since: fn(T, T) -> u64) {
    let early = T::from_millis(1_000);
    let late = plus(early, 234);
    assert_eq!(late.millis(), 1_234);
    assert!(early < late);
    assert_eq!(since(late, early), 234);
    assert_eq!(since(early, late), 0, "the clock was set back");
    assert_eq!(
        plus(late, u64::MAX).millis(),
        u64::MAX,
        "a deadline that never comes"
    );
    assert_eq!(T::default().millis(), 0);
}

#[test]
fn times_are_added_and_compared_without_wrapping() {
    a_clock_stops_at_its_ends(Wall::plus, Wall::since);
    a_clock_stops_at_its_ends(Mono::plus, Mono::since);
}

#[test]
fn a_time_is_written_as_its_number_of_milliseconds_everywhere() {
    assert_eq!(format!("{} {:?}", Wall(12), Wall(12)), "12 12");
    assert_eq!(format!("{} {:?}", Mono(34), Mono(34)), "34 34");
    assert_eq!(
        serde_json::to_string(&(Wall(12), Mono(34))).unwrap(),
        "[12,34]"
    );
    assert_eq!(
        serde_json::from_str::<(Wall, Mono)>("[12,34]").unwrap(),
        (Wall(12), Mono(34))
    );
}

#[test]
fn a_stamp_keeps_number_and_entropy_when_its_time_is_converted() {
    let stamp = Stamp {
        sequence: 3,
        at: 500_u64,
        entropy: 9,
    };
    assert_eq!(
        stamp.map(Wall::from_millis),
        Stamp {
            sequence: 3,
            at: Wall(500),
            entropy: 9
        }
    );
}

#[test]
fn an_event_is_recorded_as_json_behind_what_is_already_in_the_record() {
    let mut record = b"head".to_vec();
    Adder::encode(&Event::Added(5), &mut record).unwrap();
    assert_eq!(record, br#"head{"Added":5}"#);

    let read = Adder::decode(1, &record[4..]).unwrap();
    assert_eq!(read, Event::Added(5));
}

#[test]
fn what_is_not_an_event_or_a_state_is_an_error() {
    assert!(Adder::decode(1, br#"{"Removed":5}"#).is_err());
    assert!(Adder::decode_base(7, b"{}").is_err());
}

#[test]
fn the_base_of_a_compacted_journal_is_read_whichever_version_wrote_it() {
    assert_eq!(Adder::decode_base(7, b"41").unwrap(), 41);
    assert_eq!(Adder::decode_base(6, b"41").unwrap(), 41);
}

#[test]
fn a_machine_that_says_nothing_lets_its_deadlines_pass_with_the_clock() {
    assert_eq!(Adder::clock_jumped(60_000), None);
}

#[test]
fn an_event_may_have_four_mebibytes() {
    assert_eq!(Adder::MAX_EVENT_BYTES, 4_194_304);
}
