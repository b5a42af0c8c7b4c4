//! What every store promises, held against each of them.

use std::path::PathBuf;

use allexmaster_journal::store::{Block, FolderStore, MemoryStore, Store, Unsealed};
use tempfile::TempDir;

/// Storage that can be closed and opened again.
enum Storage {
    Folder(TempDir),
    Memory(MemoryStore),
}

impl Storage {
    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Folder(folder) => Box::new(FolderStore::open(folder.path()).unwrap().0),
            Self::Memory(disk) => Box::new(disk.clone()),
        }
    }
}

/// Runs the promise against both stores.
fn holds(promise: impl Fn(&Storage)) {
    promise(&Storage::Memory(MemoryStore::new()));
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
        assert_eq!(store.header().unwrap(), None);
        store.put_header(b"who I am").unwrap();
        drop(store);
        assert_eq!(storage.open().header().unwrap().unwrap(), b"who I am");
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
            store.write(block).unwrap();
        }
        store.sync().unwrap();
        let length: usize = blocks.iter().map(|block| block.bytes.len()).sum();
        let size = Unsealed {
            blocks: 4,
            bytes: length as u64,
        };
        assert_eq!(store.unsealed(), size);
        drop(store);
        let mut store = storage.open();
        assert_eq!(store.unsealed().blocks, 4);
        assert!(store.unsealed().bytes >= length as u64);
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
        store.write(&block(1, 10)).unwrap();
        store.write(&block(5, 6000)).unwrap();
        store.sync().unwrap();
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
            store.write(&block(first, 100)).unwrap();
        }
        store.sync().unwrap();
        assert_eq!(store.sealed_through(), 0);
        let sealed = block(1, 200);
        store.seal(&sealed, 2).unwrap();
        assert_eq!(store.sealed_through(), 2);
        assert_eq!(store.unsealed().bytes, 100);
        drop(store);
        let mut store = storage.open();
        assert_eq!(store.sealed_through(), 2);
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
            store.write(&block(first, 2000)).unwrap();
        }
        store.sync().unwrap();
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
            store.write(&block(first, 10)).unwrap();
            store.sync().unwrap();
            store.seal(&block(first, 10), first).unwrap();
        }
        store.write(&block(4, 10)).unwrap();
        store.sync().unwrap();
        store.set_aside(2, Some(&block(2, 5))).unwrap();
        drop(store);
        let mut store = storage.open();
        assert_eq!(store.sealed_through(), 1);
        assert_eq!(store.block_from(2).unwrap().unwrap(), block(2, 5));
        assert_eq!(store.block_from(3).unwrap(), None);
    });
}

#[test]
fn a_checkpoint_replaces_the_one_before() {
    holds(|storage| {
        let mut store = storage.open();
        assert_eq!(store.checkpoint().unwrap(), None);
        store.put_checkpoint(b"first").unwrap();
        store.put_checkpoint(b"second").unwrap();
        drop(store);
        assert_eq!(storage.open().checkpoint().unwrap().unwrap(), b"second");
    });
}

#[test]
fn the_last_acknowledged_number_is_remembered() {
    holds(|storage| {
        let mut store = storage.open();
        assert_eq!(store.acknowledged().unwrap(), 0);
        store.acknowledge(7).unwrap();
        store.acknowledge(8).unwrap();
        drop(store);
        assert_eq!(storage.open().acknowledged().unwrap(), 8);
    });
}
