//! What people are told, in the words that they read.

use std::path::PathBuf;

use allexmaster_journal::{Error, Failpoint, Point, Recovery};

use crate::format::snapshot;

#[test]
fn every_repair_is_told_in_a_line() {
    let path = PathBuf::from("journal/set-aside/here");
    let why = "it is worn out".to_owned();
    let recoveries = [
        Recovery::UnfinishedSnapshot { path: path.clone() },
        Recovery::SnapshotsSetAside {
            path: path.clone(),
            why: why.clone(),
        },
        Recovery::DatabaseSetAside {
            path: path.clone(),
            why: why.clone(),
        },
        Recovery::TornTail {
            sequence: 17,
            path: Some(path),
        },
        Recovery::Damaged {
            sequence: 17,
            why: why.clone(),
            path: None,
        },
        Recovery::EventsLost {
            last: 16,
            acknowledged: 20,
        },
        Recovery::BaseCopied,
        Recovery::CheckpointDiscarded { why },
    ];
    let lines = recoveries.map(|recovery| format!("{recovery}\n")).concat();
    snapshot("repairs_as_they_are_told", &lines);
}

#[test]
fn every_error_says_what_to_do() {
    let bad_json = || serde_json::from_str::<u8>("{").unwrap_err();
    let errors = [
        Error::Held {
            path: "journal".into(),
            holder: Some(4711),
        },
        Error::Held {
            path: "journal".into(),
            holder: None,
        },
        Error::OtherProgram {
            found: "allexlanmanager".to_owned(),
            expected: "allexmaster",
        },
        Error::NewerFormat {
            major: 3,
            minor: 0,
            reads: 2,
        },
        Error::Compacted {
            asked: 17,
            first: 1001,
        },
        Error::BaseDamaged {
            why: "its hash does not fit".to_owned(),
        },
        Error::NewerBase {
            made_by: 9,
            known: 8,
        },
        Error::NoCheckpoint {
            why: "there is none".to_owned(),
        },
        Error::CheckpointDiffers { sequence: 17 },
        Error::Compacting,
        Error::CompactionBroke,
        Error::Header { source: bad_json() },
        Error::UnknownEvent {
            sequence: 17,
            kind: 99,
            source: bad_json(),
        },
        Error::Damaged {
            sequence: 17,
            why: "the checksum does not fit".to_owned(),
            torn: false,
        },
        Error::NotRecordable {
            kind: 99,
            source: bad_json(),
        },
        Error::EventTooLarge {
            kind: 99,
            length: 5_000_000,
            limit: 4 * 1024 * 1024,
        },
        Error::Checkpoint { source: bad_json() },
        Error::Failed,
    ];
    let lines = errors.map(|error| format!("{error}\n")).concat();
    snapshot("errors_as_they_are_told", &lines);
}

#[test]
fn a_failpoint_is_a_point_and_a_number() {
    let durable = Failpoint {
        point: Point::Durable,
        sequence: 17,
    };
    assert_eq!("durable:17".parse(), Ok(durable));
    for setting in [
        "",
        "durable",
        "durable:",
        "durable:x",
        "durable:-1",
        "Durable:1",
        ":1",
    ] {
        let refused = setting.parse::<Failpoint>().unwrap_err();
        assert_eq!(refused.setting, setting);
    }
}
