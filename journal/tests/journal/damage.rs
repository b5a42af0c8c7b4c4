//! A small journal, damaged in every way that one byte or one record can be: whoever opens it is told, and
//! gets the state that the events before the damage lead to, or none.

use allexmaster_journal::record;
use allexmaster_journal::store::{Block, FakeDisk, Part, Store};
use allexmaster_journal::{JournaledMachine, Options, Recovery};

use crate::support::{Shelf, State, TestClock, put};

const EVENTS: u64 = 10;

/// The journal's bytes as one block, where each record ends, and the state after each number of events.
struct Original {
    header: Vec<u8>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    states: Vec<State>,
}

fn original() -> Original {
    let disk = FakeDisk::new();
    let (mut live, _) =
        JournaledMachine::<Shelf>::with_store(Box::new(disk.clone()), Options::default()).unwrap();
    let mut clock = TestClock::default();
    let mut states = vec![State::default()];
    let recorded = (0..EVENTS).map(put).collect::<Vec<_>>();
    for event in recorded {
        live.commit(&mut clock, vec![event]).unwrap();
        states.push(live.state().clone());
    }
    live.journal().seal().unwrap();
    let mut bytes = Vec::new();
    disk.damage(|_, sealed| bytes.clone_from(sealed));
    let mut ends = vec![0];
    while let Ok((_, length)) = record::decode(&bytes[ends[ends.len() - 1]..], None) {
        ends.push(ends[ends.len() - 1] + length);
    }
    assert_eq!(ends.len() as u64, EVENTS + 1);
    let mut disk = disk;
    let header = disk.get(Part::Header).unwrap().remove(0);
    Original {
        header,
        bytes,
        ends,
        states,
    }
}

impl Original {
    fn record(&self, number: usize) -> &[u8] {
        &self.bytes[self.ends[number]..self.ends[number + 1]]
    }

    /// How many records end at or before a byte.
    fn before(&self, place: usize) -> usize {
        self.ends[1..].iter().filter(|end| **end <= place).count()
    }

    /// Opens the journal with these bytes in place of its own, of which so many events are good.
    fn assert_noticed(&self, bytes: Vec<u8>, good: usize, what: &str) {
        let mut store = FakeDisk::new();
        store.put(Part::Header, &self.header).unwrap();
        store.seal(&Block { first: 1, bytes }, EVENTS).unwrap();
        store.sync(EVENTS).unwrap();
        let (live, opened) =
            JournaledMachine::<Shelf>::with_store(Box::new(store), Options::default()).unwrap();
        assert!(
            opened.recoveries.iter().any(Recovery::is_loss),
            "{what} is not told"
        );
        assert_eq!(opened.last, good as u64, "{what}");
        assert_eq!(live.state(), &self.states[good], "{what}");
    }
}

#[test]
fn each_flipped_bit_is_noticed_where_it_is() {
    let original = original();
    for place in 0..original.bytes.len() {
        for bit in 0..8 {
            let mut bytes = original.bytes.clone();
            bytes[place] ^= 1 << bit;
            let good = original.before(place);
            original.assert_noticed(bytes, good, &format!("bit {bit} of byte {place}"));
        }
    }
}

#[test]
fn each_truncation_is_noticed_where_it_is() {
    let original = original();
    for length in 1..original.bytes.len() {
        let bytes = original.bytes[..length].to_vec();
        let good = original.before(length);
        original.assert_noticed(bytes, good, &format!("the cut at byte {length}"));
    }
}

#[test]
fn each_record_that_is_removed_swapped_or_doubled_is_noticed_where_it_was() {
    let original = original();
    let records: Vec<&[u8]> = (0..EVENTS as usize)
        .map(|number| original.record(number))
        .collect();
    for number in 0..records.len() {
        let mut removed = records.clone();
        removed.remove(number);
        original.assert_noticed(removed.concat(), number, &format!("{number} removed"));
        let mut doubled = records.clone();
        doubled.insert(number, records[number]);
        original.assert_noticed(doubled.concat(), number + 1, &format!("{number} doubled"));
        for other in number + 1..records.len() {
            let mut swapped = records.clone();
            swapped.swap(number, other);
            let what = format!("{number} swapped with {other}");
            original.assert_noticed(swapped.concat(), number, &what);
        }
    }
}
