//! The time machine: keys are typed, and the screen is read.

use std::path::{Path, PathBuf};

use crate::support::{assert_snapshot, recorded};
use allexmaster_inspect::explorer::{App, Index, draw, key};
use allexmaster_inspect::frames::FRAME_EVENTS;
use allexmaster_inspect::replay::Past;
use allexmaster_inspect::source;
use allexmaster_inspect::time::Zone;
use allexmaster_journal::{JournaledMachine, Options, Restore};
use allexmaster_state::Rules;
use allexmaster_state::{Event, StopSource};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

struct Seat {
    app: App,
    terminal: Terminal<TestBackend>,
}

impl Seat {
    fn at(name: &str, columns: u16, rows: u16) -> Self {
        let open = || Past::new(source::open(&recorded(name)).unwrap());
        let mut app = App::new(open(), Zone::utc()).unwrap();
        app.index = Index::whole(&mut open());
        app.place = name.to_owned();
        let terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        Self { app, terminal }
    }

    fn press(&mut self, code: KeyCode) -> &mut Self {
        key(&mut self.app, KeyEvent::new(code, KeyModifiers::NONE));
        self
    }

    fn write(&mut self, text: &str) -> &mut Self {
        for letter in text.chars() {
            self.press(KeyCode::Char(letter));
        }
        self
    }

    fn screen(&mut self) -> String {
        self.terminal
            .draw(|frame| draw(frame, &mut self.app))
            .unwrap();
        self.terminal.backend().to_string()
    }
}

#[test]
fn the_screen_shows_a_failure_with_its_causes() {
    let mut seat = Seat::at("crash_loop", 120, 30);
    seat.press(KeyCode::Char('F')).press(KeyCode::Char('F'));
    assert_snapshot("explorer_at_a_failure", seat.screen());
    let mut small = Seat::at("crash_loop", 80, 24);
    small.press(KeyCode::Char('F')).press(KeyCode::Char('F'));
    assert_snapshot("explorer_at_a_failure_80", small.screen());
}

#[test]
fn a_step_back_and_forth_is_where_one_was() {
    let mut seat = Seat::at("adoption", 120, 30);
    seat.press(KeyCode::Home)
        .press(KeyCode::Right)
        .press(KeyCode::Right);
    assert_eq!(seat.app.at(), 3);
    let before = seat.screen();
    seat.press(KeyCode::Right).press(KeyCode::Left);
    assert_eq!(seat.screen(), before);
    seat.press(KeyCode::End).press(KeyCode::Right);
    assert_eq!(seat.app.at(), seat.app.last);
    seat.press(KeyCode::PageUp);
    assert_eq!(seat.app.at(), 1);
}

#[test]
fn starts_failures_and_searches_are_found_in_both_directions() {
    let mut seat = Seat::at("adoption", 120, 30);
    seat.press(KeyCode::Home)
        .press(KeyCode::Char('s'))
        .press(KeyCode::Char('s'));
    let second = seat.app.at();
    assert_eq!(seat.app.shown.recorded.event.kind(), 2);
    seat.press(KeyCode::Char('S'));
    assert!(seat.app.at() < second);
    seat.press(KeyCode::Char('/'))
        .write("web")
        .press(KeyCode::Enter);
    let found = seat.app.at();
    seat.press(KeyCode::Char('n')).press(KeyCode::Char('N'));
    assert_eq!(seat.app.at(), found);
    seat.press(KeyCode::Char('/'))
        .write("nowhere")
        .press(KeyCode::Enter);
    assert!(seat.screen().contains("no nowhere after this event"));
}

#[test]
fn a_breakpoint_stops_where_all_of_it_is_met() {
    let mut seat = Seat::at("crash_loop", 120, 30);
    seat.press(KeyCode::Home);
    seat.press(KeyCode::Char('b'))
        .write("Reports backing-off")
        .press(KeyCode::Enter);
    seat.press(KeyCode::Char(' '));
    let first = seat.app.at();
    let after = seat.app.shown.after.as_ref().unwrap();
    let status = after.status_of(&"Reports".into()).unwrap();
    assert_eq!(status.state.as_str(), "backing-off");
    seat.press(KeyCode::Char(' '));
    assert!(seat.app.at() > first);
    seat.press(KeyCode::Backspace);
    assert_eq!(seat.app.at(), first);
}

#[test]
fn one_goes_to_numbers_and_shares_and_is_told_what_is_no_place() {
    let mut seat = Seat::at("crash_loop", 120, 30);
    seat.press(KeyCode::Char('g'))
        .write("12")
        .press(KeyCode::Enter);
    assert_eq!(seat.app.at(), 12);
    seat.press(KeyCode::Char('0'));
    let at_start = seat.app.at();
    seat.press(KeyCode::Char('9'));
    assert!(seat.app.at() > at_start);
    seat.press(KeyCode::Char('g'))
        .write("nonsense")
        .press(KeyCode::Enter);
    assert!(seat.screen().contains("no point in the journal"));
    seat.press(KeyCode::Char('?'));
    assert!(seat.screen().contains("the next failure"));
    seat.press(KeyCode::Char('?')).press(KeyCode::Char('q'));
    assert!(seat.app.quit);
}

/// So many events of no consequence that the end is not near to the beginning.
const QUIET: u64 = FRAME_EVENTS + 16;

/// A long journal as a master leaves it, with a checkpoint after its last event: a recorded one, a long
/// time in which little happens, and an order to stop.
fn long(folder: &Path) -> PathBuf {
    let place = folder.join("long");
    let mut restore = Restore::<Rules>::begin(&place, uuid::Uuid::nil(), None).unwrap();
    let mut time = 0;
    let mut source = source::open(&recorded("lost_lanmanager")).unwrap();
    let visited = source.visit(1, &mut |record| {
        time = record.stamp.at;
        let (entropy, kind) = (record.stamp.entropy, record.kind);
        restore.push(time, entropy, kind, record.payload).unwrap();
        std::ops::ControlFlow::Continue(())
    });
    visited.unwrap();
    let mut push = |event: &Event| {
        time += 10;
        let payload = serde_json::to_vec(event).unwrap();
        restore.push(time, 0, event.kind(), &payload).unwrap();
    };
    for _ in 0..QUIET {
        push(&Event::ClockJumped { by: 1 });
    }
    push(&Event::StopRequested {
        request: None,
        source: StopSource::Signal,
        urgent: false,
    });
    restore.finish().unwrap();
    let (mut live, _) = JournaledMachine::<Rules>::open(&place, Options::default()).unwrap();
    live.make_checkpoint().unwrap();
    live.close().unwrap();
    place
}

#[test]
fn a_long_journal_is_shown_before_it_is_read_and_completed_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = long(folder.path());
    let open = || Past::new(source::open(&place).unwrap());
    let past = open();
    let frames = past.frames();
    let mut app = App::new(past, Zone::utc()).unwrap();
    app.place = "long".to_owned();
    let terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
    let mut seat = Seat { app, terminal };

    let last = seat.app.last;
    assert_eq!(seat.app.at(), last);
    assert!(seat.app.shown.cause.is_none());
    let from_checkpoint = seat.app.shown.after.clone();
    assert!(from_checkpoint.is_some());
    assert_snapshot("explorer_before_it_is_read", seat.screen());

    // Where no state is near, the event is shown alone.
    let before = last - 4;
    seat.press(KeyCode::Char('g'))
        .write(&before.to_string())
        .press(KeyCode::Enter);
    assert_eq!(seat.app.at(), before);
    assert!(seat.app.shown.after.is_none());
    assert!(seat.screen().contains(&format!("events, up to {before}")));
    seat.press(KeyCode::Char('0'));
    assert!(seat.app.at() < before);
    assert!(seat.app.shown.cause.is_some(), "the beginning is near");
    seat.press(KeyCode::End);
    assert!(seat.app.shown.cause.is_none());

    seat.app.index = Index::whole(&mut open().sharing(frames));
    seat.app.catch_up();
    assert!(seat.app.shown.cause.is_some());
    assert_eq!(seat.app.shown.after, from_checkpoint);
    let completed = seat.screen();
    assert!(completed.contains("a signal asked the master to stop"));
    seat.press(KeyCode::Home).press(KeyCode::End);
    assert_eq!(seat.screen(), completed);
}
