//! The published formats: what is written today is read for ever, and nothing else is believed.

use allexmaster_journal::record::{self, Checksum, RecordError};
use allexmaster_journal::store::{Block, FakeDisk, Part, Store};
use allexmaster_journal::{Error, JournaledMachine, Options, Stamp};
use proptest::prelude::*;

use crate::support::Shelf;

#[track_caller]
pub(crate) fn snapshot(name: &str, content: &str) {
    allexmaster_testkit::assert_snapshot(&format!("journal__{name}"), content);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Three records, and where each begins.
fn three_records(genesis: Checksum) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let mut starts = Vec::new();
    let mut checksum = genesis;
    for (sequence, payload) in (1..).zip([&b"{\"Put\":1}"[..], b"", b"\"Stop\""]) {
        starts.push(bytes.len());
        let stamp = Stamp {
            sequence,
            at: 1_700_000_000_000 + sequence,
            entropy: 0xdead_beef,
        };
        checksum = record::encode(&mut bytes, checksum, stamp, 7, payload);
    }
    (bytes, starts)
}

/// How many records verify, and what ends the reading.
fn read(mut bytes: &[u8], genesis: Checksum) -> (usize, Option<RecordError>) {
    let mut checksum = genesis;
    let mut count = 0;
    while !bytes.is_empty() {
        match record::decode(bytes, Some(checksum)) {
            Ok((record, length)) => {
                checksum = record.checksum;
                bytes = &bytes[length..];
                count += 1;
            }
            Err(error) => return (count, Some(error)),
        }
    }
    (count, None)
}

#[test]
fn a_record_of_format_1_has_these_bytes() {
    let genesis = record::genesis("shelf", "an identity");
    let (bytes, starts) = three_records(genesis);
    let mut lines = format!("genesis {genesis}\n");
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(bytes.len());
        lines += &format!("record  {}\n", hex(&bytes[*start..end]));
    }
    snapshot("record_of_format_1", &lines);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed_in_its_record() {
    let genesis = record::genesis("shelf", "an identity");
    let (bytes, starts) = three_records(genesis);
    assert_eq!(read(&bytes, genesis), (3, None));
    for index in 0..bytes.len() {
        let whole_before = starts.iter().filter(|start| **start <= index).count() - 1;
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1 << bit;
            let (count, error) = read(&damaged, genesis);
            assert_eq!(count, whole_before, "bit {bit} of byte {index}");
            let error = error.unwrap();
            assert!(
                matches!(error, RecordError::Checksum | RecordError::Truncated),
                "{error}"
            );
        }
        let (count, error) = read(&bytes[..index], genesis);
        let at_a_boundary = starts.contains(&index);
        assert_eq!(count, whole_before);
        assert_eq!(error.is_none(), at_a_boundary);
    }
}

#[test]
fn a_record_of_another_journal_does_not_verify() {
    let (bytes, _) = three_records(record::genesis("shelf", "an identity"));
    let other = record::genesis("shelf", "another identity");
    assert_eq!(read(&bytes, other), (0, Some(RecordError::Checksum)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_decoder_panic_or_believe_them(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), claimed in 0_u32..220,
    ) {
        let mut bytes = bytes;
        // Half of the time with a length that leads somewhere.
        if let Some(length) = bytes.get_mut(4..8).filter(|_| claimed % 2 == 0) {
            length.copy_from_slice(&claimed.to_be_bytes());
        }
        let genesis = record::genesis("shelf", "an identity");
        prop_assert!(record::decode(&bytes, Some(genesis)).is_err());
        let _ = record::decode(&bytes, None);
    }
}

/// A record of any version, with a checksum that fits.
fn record_of_version(genesis: Checksum, major: u8, minor: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let stamp = Stamp {
        sequence: 1,
        at: 5,
        entropy: 6,
    };
    record::encode(&mut bytes, genesis, stamp, 5, b"\"Stop\"");
    bytes[0] = major;
    bytes[1] = minor;
    // As the format's description says, and not as the crate does it.
    let content = bytes.len() - record::CHECKSUM_LENGTH;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&genesis.0).update(&bytes[..content]);
    bytes.truncate(content);
    bytes.extend_from_slice(&hasher.finalize().as_bytes()[..record::CHECKSUM_LENGTH]);
    bytes
}

#[test]
fn a_newer_minor_version_is_read_and_a_newer_major_one_refused_untouched() {
    let disk = FakeDisk::new();
    let (live, opened) =
        JournaledMachine::<Shelf>::with_store(Box::new(disk.clone()), Options::default()).unwrap();
    drop(live);
    let genesis = record::genesis("shelf", &opened.identity.to_string());
    let write = |major, minor| {
        let bytes = record_of_version(genesis, major, minor);
        let mut store = disk.clone();
        store.append(&Block { first: 1, bytes }).unwrap();
        store.sync(0).unwrap();
        JournaledMachine::<Shelf>::with_store(Box::new(disk.clone()), Options::default())
    };
    assert_eq!(write(1, 9).unwrap().1.replayed, 1);
    let refused = write(2, 3).err().unwrap();
    assert!(matches!(
        refused,
        Error::NewerFormat {
            major: 2,
            minor: 3,
            reads: 1
        }
    ));
    snapshot("refusal_of_a_newer_format", &refused.to_string());
    assert!(disk.aside().is_empty());
}

#[test]
fn the_committed_journal_of_format_1_replays_to_its_state() {
    let text = include_str!("../data/journal-v1.txt");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut store = FakeDisk::new();
    store
        .put(Part::Header, lines.next().unwrap().as_bytes())
        .unwrap();
    let bytes: Vec<u8> = lines.flat_map(from_hex).collect();
    store.append(&Block { first: 1, bytes }).unwrap();
    store.sync(0).unwrap();
    let (mut live, opened) =
        JournaledMachine::<Shelf>::with_store(Box::new(store), Options::default()).unwrap();
    assert!(opened.recoveries.is_empty(), "{:?}", opened.recoveries);
    live.journal().verify().unwrap();
    let state = serde_json::to_string_pretty(live.state()).unwrap();
    snapshot("state_of_the_journal_of_format_1", &state);
}

#[test]
fn the_committed_journal_of_format_2_goes_on_from_its_base() {
    let text = include_str!("../data/journal-v2.txt");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut store = FakeDisk::new();
    store
        .put(Part::Header, lines.next().unwrap().as_bytes())
        .unwrap();
    store
        .put(Part::Base, &from_hex(lines.next().unwrap()))
        .unwrap();
    let bytes: Vec<u8> = lines.flat_map(from_hex).collect();
    store.append(&Block { first: 21, bytes }).unwrap();
    store.sync(0).unwrap();
    let (mut live, opened) =
        JournaledMachine::<Shelf>::with_store(Box::new(store), Options::default()).unwrap();
    assert!(opened.recoveries.is_empty(), "{:?}", opened.recoveries);
    live.journal().verify().unwrap();
    assert_eq!(live.journal().start().sequence, 20);
    let state = serde_json::to_string_pretty(live.state()).unwrap();
    snapshot("state_of_the_journal_of_format_2", &state);
}
