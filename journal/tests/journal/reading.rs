//! Reading beside a writer, and putting down again.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use allexmaster_journal::runner::{self, Ended};
use allexmaster_journal::{
    Error, Journal, JournaledMachine, Machine, Options, Performer, Position, Restore,
};
use uuid::Uuid;

use crate::support::{Effect, Event, Shelf, State, TestClock, put};

/// A journal of 40 events, 20 of them sealed, left open.
fn filled(folder: &Path) -> JournaledMachine<Shelf> {
    let (mut live, _) = JournaledMachine::open(folder, Options::default()).unwrap();
    let mut clock = TestClock::default();
    for round in 0..40 {
        live.commit(&mut clock, vec![put(round)]).unwrap();
        if round == 19 {
            live.make_checkpoint().unwrap();
            live.journal().seal().unwrap();
        }
    }
    live
}

fn read(folder: &Path, from: u64) -> Result<(Vec<u64>, Position), Error> {
    let mut journal = Journal::<Shelf>::read_only(folder)?;
    let mut seen = Vec::new();
    let position = journal.visit(from, |record| {
        seen.push(record.stamp.sequence);
        ControlFlow::Continue(())
    })?;
    Ok((seen, position))
}

fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_journal_is_read_while_its_writer_holds_it_and_nothing_in_its_folder_changes() {
    let folder = tempfile::tempdir().unwrap();
    let live = filled(folder.path());
    let before = content(folder.path());
    let (seen, position) = read(folder.path(), 1).unwrap();
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
    assert_eq!(position, live.position());
    assert_eq!(
        read(folder.path(), 33).unwrap().0,
        (33..=40).collect::<Vec<_>>()
    );
    assert_eq!(content(folder.path()), before);
}

#[test]
fn a_reader_tells_the_checkpoint_and_refuses_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let live = filled(folder.path());
    let mut journal = Journal::<Shelf>::read_only(folder.path()).unwrap();
    let (position, state) = journal.stored_checkpoint().unwrap().unwrap().unwrap();
    assert_eq!((position.sequence, state.events), (20, 20));
    assert_eq!(journal.sealed_through(), 20);
    assert_eq!(journal.extent().acknowledged, live.position().sequence);
    let refused = journal.append(&mut TestClock::default(), &[put(1)]);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("opened to be read")
    );
}

#[test]
fn where_there_is_no_journal_a_reader_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let error = read(folder.path(), 1).unwrap_err();
    assert!(error.to_string().contains("there is no journal"));
    assert!(content(folder.path()).is_empty());
}

#[test]
fn a_journal_that_was_put_down_again_is_the_same_journal() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let live = filled(folder.path());
    let mut journal = Journal::<Shelf>::read_only(folder.path()).unwrap();
    let mut restore = Restore::<Shelf>::begin(copy.path(), journal.identity(), None).unwrap();
    let mut pushed = Ok(());
    journal
        .visit(1, |record| {
            let stamp = record.stamp;
            let checksum = restore.push(stamp.at, stamp.entropy, record.kind, record.payload);
            pushed = checksum.map(|checksum| assert_eq!(checksum, record.checksum));
            ControlFlow::Continue(())
        })
        .unwrap();
    pushed.unwrap();
    assert_eq!(restore.finish().unwrap(), live.position());
    let (again, opened) = JournaledMachine::<Shelf>::open(copy.path(), Options::default()).unwrap();
    assert_eq!(
        (again.state(), opened.recoveries),
        (live.state(), Vec::new())
    );
}

#[test]
fn a_folder_that_has_something_is_not_put_down_into() {
    let folder = tempfile::tempdir().unwrap();
    let _live = filled(folder.path());
    let refused = Restore::<Shelf>::begin(folder.path(), Uuid::nil(), None).map(drop);
    assert!(matches!(refused, Err(Error::NotEmpty { .. })));
}

/// Ends the loop when it is told to.
struct Stopper;

impl Performer<Shelf> for Stopper {
    type Exit = ();

    fn perform(&mut self, effect: Effect) -> ControlFlow<()> {
        match effect {
            Effect::Stop => ControlFlow::Break(()),
            Effect::Tell { .. } | Effect::Ring { .. } => ControlFlow::Continue(()),
        }
    }

    fn settled(&mut self, _state: &State) {}

    fn journal_failed(&mut self, _error: &Error) {}
}

#[tokio::test]
async fn the_loop_lends_its_journal_to_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let live = filled(folder.path());
    let (inbox, mailbox) = runner::inbox::<Shelf>(8);
    let thread = runner::start(live, mailbox, TestClock::default(), Stopper).unwrap();
    inbox.send(put(41)).await.unwrap();
    let last = inbox.read(|journal| journal.records(41).unwrap().count());
    assert_eq!(last.await.unwrap(), 1);
    inbox.send(Event::Stop).await.unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), Ended::Exit(()));
    assert_eq!(Shelf::PROGRAM, "shelf");
}
