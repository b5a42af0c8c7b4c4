//! The journal's payload is a published format: these bytes must be read for ever.
//!
//! A line that changes here is a change of the journal's format: it needs a new
//! version of it, with a conversion.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so and ends"
)]

use std::collections::BTreeSet;

use allexmaster_state::{Event, Identity, Incarnation};
use allexmaster_testkit::assert_snapshot;
use serde_json::json;

#[path = "support/samples.rs"]
mod samples;

/// The accepted bytes.
const GOLDEN: &str = include_str!("../../snapshots/state__golden_events.snap");

/// One of each kind (and of each variant within), in the order of their numbers.
fn one_of_each() -> Vec<Event> {
    std::iter::successors(Some(samples::first()), samples::after).collect()
}

fn line(event: &Event) -> String {
    let payload = serde_json::to_string(event).expect("an event is always JSON");
    format!("{:>2} {payload}", event.kind())
}

#[test]
fn the_bytes_of_every_kind_of_event_are_the_accepted_ones() {
    let lines: Vec<String> = one_of_each().iter().map(line).collect();
    assert_snapshot("state__golden_events", &lines.join("\n"));
}

#[test]
fn the_accepted_bytes_are_read_as_the_events_that_they_were_made_of() {
    let (_, body) = GOLDEN
        .split_once("\n---\n")
        .expect("a snapshot has a header");
    let read: Vec<Event> = body
        .lines()
        .filter_map(|line| line.trim_start().split_once(' '))
        .map(|(_, payload)| serde_json::from_str(payload).expect("old bytes stay readable"))
        .collect();
    assert_eq!(read, one_of_each());
}

#[test]
fn the_numbers_of_the_kinds_are_contiguous_and_never_shared() {
    let mut names_by_number = BTreeSet::new();
    for event in one_of_each() {
        let json = serde_json::to_value(&event).expect("an event is always JSON");
        let fields = json.as_object().and_then(|object| object.keys().next());
        let name = json.as_str().or(fields.map(String::as_str));
        let name = name.expect("an event is a name, or an object with one");
        assert_eq!(event.kind_name(), name);
        names_by_number.insert((event.kind(), name.to_owned()));
    }
    let numbers: Vec<u16> = names_by_number.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=33).collect::<Vec<u16>>());
}

#[test]
fn an_incarnation_is_read_back_from_its_text() {
    for (sequence, index, text) in [(918, 0, "918"), (918, 2, "918.2")] {
        let incarnation = Incarnation { sequence, index };
        assert_eq!(incarnation.to_string(), text);
        assert_eq!(text.parse(), Ok(incarnation));
        assert_eq!(json!(incarnation), json!(text));
    }
    for text in ["", "x", "918.", ".1", "-1", "918.2.3"] {
        assert!(text.parse::<Incarnation>().is_err(), "{text}");
    }
}

#[test]
fn an_unknown_kind_of_event_and_a_missing_field_are_refused() {
    for bytes in [
        r#"{"sun-rose":{}}"#,
        r#"{"child-ready":{}}"#,
        r#"{"child-ready":{"incarnation":5}}"#,
        "null",
        "",
    ] {
        assert!(serde_json::from_str::<Event>(bytes).is_err(), "{bytes}");
    }
    let identity = r#"{"boot":"b","pid":1}"#;
    assert!(serde_json::from_str::<Identity>(identity).is_err());
}
