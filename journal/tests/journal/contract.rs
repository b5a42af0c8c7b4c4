//! What every store promises, held against each of them.

use std::path::PathBuf;

use allexmaster_journal::store::{Block, FakeDisk, FolderStore, Part, Store};
use tempfile::TempDir;

/// Storage that can be closed and opened again.
enum Storage {
    Folder(TempDir),
    Fake(FakeDisk),
}

impl Storage {
    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Folder(folder) => Box::new(FolderStore::open(folder.path()).unwrap().0),
            Self::Fake(disk) => Box::new(disk.clone()),
        }
    }
}

/// Runs the promise against both stores.
fn holds(promise: impl Fn(&Storage)) {
    promise(&Storage::Fake(FakeDisk::new()));
    promise(&Storage::Folder(tempfile::tempdir().unwrap()));
}

fn block(first: u64, length: usize) -> Block {
    let bytes = (0..length).map(|index| ((index * 7 + length) % 251) as u8);
    Block {
        first,
        bytes: bytes.collect(),
    }
}

#[test]
fn a_header_is_there_once_it_was_put() {
    holds(|storage| {
        let mut store = storage.open();
        assert_eq!(store.get(Part::Header).unwrap(), [[0; 0]; 0]);
        store.put(Part::Header, b"who I am").unwrap();
        drop(store);
        assert_eq!(storage.open().get(Part::Header).unwrap(), [b"who I am"]);
    });
}

#[test]
fn synced_blocks_of_any_length_come_back_in_order() {
    holds(|storage| {
        let blocks = [
            block(1, 1),
            block(2, 900),
            block(9, 5000),
            block(70, 300_000),
        ];
        let mut store = storage.open();
        for block in &blocks {
            store.append(block).unwrap();
        }
        store.sync(0).unwrap();
        let length: usize = blocks.iter().map(|block| block.bytes.len()).sum();
        let extent = store.extent();
        assert_eq!(extent.unsealed_blocks, 4);
        assert_eq!(extent.unsealed_bytes, length as u64);
        drop(store);
        let mut store = storage.open();
        assert_eq!(store.extent().unsealed_blocks, 4);
        assert!(store.extent().unsealed_bytes >= length as u64);
        let mut next = 0;
        for block in blocks {
            let found = store.block_from(next).unwrap().unwrap();
            next = found.first + 1;
            assert!(found == block, "block {} differs", block.first);
        }
        assert_eq!(store.block_from(next).unwrap(), None);
    });
}

#[test]
fn a_block_is_found_by_any_number_that_it_holds() {
    holds(|storage| {
        let mut store = storage.open();
        store.append(&block(1, 10)).unwrap();
        store.append(&block(5, 6000)).unwrap();
        store.sync(0).unwrap();
        for (sequence, first) in [(1, 1), (4, 1), (5, 5), (u64::MAX, 5)] {
            let found = store.block_holding(sequence).unwrap().unwrap();
            assert_eq!(found.first, first);
        }
        assert_eq!(store.block_holding(0).unwrap(), None);
    });
}

#[test]
fn sealing_keeps_the_records_and_takes_them_from_the_tail() {
    holds(|storage| {
        let mut store = storage.open();
        for first in 1..=3 {
            store.append(&block(first, 100)).unwrap();
        }
        store.sync(0).unwrap();
        assert_eq!(store.extent().sealed_through, 0);
        let sealed = block(1, 200);
        store.seal(&sealed, 2).unwrap();
        assert_eq!(store.extent().sealed_through, 2);
        assert_eq!(store.extent().unsealed_bytes, 100);
        drop(store);
        let mut store = storage.open();
        assert_eq!(store.extent().sealed_through, 2);
        assert_eq!(store.block_from(1).unwrap().unwrap(), sealed);
        assert_eq!(store.block_from(2).unwrap().unwrap(), block(3, 100));
        assert_eq!(store.block_holding(2).unwrap().unwrap(), sealed);
    });
}

#[test]
fn what_is_set_aside_is_out_of_the_journal_and_the_good_part_in_it() {
    holds(|storage| {
        let mut store = storage.open();
        for first in [1, 10, 20] {
            store.append(&block(first, 2000)).unwrap();
        }
        store.sync(0).unwrap();
        let kept = block(10, 50);
        let place: Option<PathBuf> = store.set_aside(10, Some(&kept)).unwrap();
        assert!(place.is_some());
        drop(store);
        let mut store = storage.open();
        assert_eq!(store.block_from(2).unwrap().unwrap(), kept);
        assert_eq!(store.block_from(11).unwrap(), None);
        assert_eq!(store.set_aside(11, None).unwrap(), None);
    });
}

#[test]
fn sealed_blocks_can_be_set_aside_too() {
    holds(|storage| {
        let mut store = storage.open();
        for first in [1, 2, 3] {
            store.append(&block(first, 10)).unwrap();
            store.sync(0).unwrap();
            store.seal(&block(first, 10), first).unwrap();
        }
        store.append(&block(4, 10)).unwrap();
        store.sync(0).unwrap();
        store.set_aside(2, Some(&block(2, 5))).unwrap();
        drop(store);
        let mut store = storage.open();
        assert_eq!(store.extent().sealed_through, 1);
        assert_eq!(store.block_from(2).unwrap().unwrap(), block(2, 5));
        assert_eq!(store.block_from(3).unwrap(), None);
    });
}

#[test]
fn a_checkpoint_replaces_the_one_before() {
    holds(|storage| {
        let mut store = storage.open();
        assert_eq!(store.get(Part::Checkpoint).unwrap(), [[0; 0]; 0]);
        store.put(Part::Checkpoint, b"first").unwrap();
        store.put(Part::Checkpoint, b"second").unwrap();
        drop(store);
        assert_eq!(storage.open().get(Part::Checkpoint).unwrap(), [b"second"]);
    });
}

#[test]
fn the_last_acknowledged_number_is_remembered() {
    holds(|storage| {
        let mut store = storage.open();
        assert_eq!(store.extent().acknowledged, 0);
        store.sync(7).unwrap();
        store.sync(8).unwrap();
        drop(store);
        assert_eq!(storage.open().extent().acknowledged, 8);
    });
}
