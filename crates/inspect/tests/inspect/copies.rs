//! Exports, stretches, redaction, and journals made of them.

use std::fs;
use std::path::Path;

use crate::support::{recorded, said};
use allexmaster_inspect::command::Answer;
use allexmaster_inspect::replay::Past;
use allexmaster_inspect::source::{self, Ask, OnlineSource, Page, PageWish};

fn state_json(journal: &Path, words: &[&str]) -> serde_json::Value {
    let (output, answer) = said(journal, None, words);
    assert_eq!(answer.unwrap(), Answer::Done);
    serde_json::from_str(&output).unwrap()
}

#[test]
fn an_imported_export_is_the_same_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let original = recorded("adoption");
    let words = [
        "journal",
        "import",
        original.to_str().unwrap(),
        journal.to_str().unwrap(),
    ];
    assert_eq!(said(&original, None, &words).1.unwrap(), Answer::Done);
    let (again, answer) = said(&journal, None, &["journal", "export"]);
    answer.unwrap();
    assert_eq!(again, fs::read_to_string(&original).unwrap());
    assert!(
        said(&original, None, &words).1.is_err(),
        "the folder is not empty any more"
    );
}

#[test]
fn a_stretch_leads_to_the_states_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let stretch = folder.path().join("stretch.ndjson");
    let whole = recorded("crash_loop");
    let path = stretch.to_str().unwrap();
    let words = [
        "journal", "export", "--since", "12", "--until", "30", "--output", path,
    ];
    said(&whole, None, &words).1.unwrap();
    for at in ["12", "20", "30"] {
        let words = ["replay", "--at", at, "--json"];
        assert_eq!(state_json(&stretch, &words), state_json(&whole, &words));
    }
    assert!(said(&stretch, None, &["replay", "--at", "31"]).1.is_err());
    let import = ["journal", "import", path, "anywhere"];
    assert!(
        said(&stretch, None, &import)
            .1
            .unwrap_err()
            .to_string()
            .contains("first event on")
    );
}

#[test]
fn a_redacted_export_names_nobody_and_behaves_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["crash_loop", "adoption", "lost_lanmanager", "port_conflict"] {
        let redacted = folder.path().join(format!("{name}.ndjson"));
        let words = [
            "journal",
            "export",
            "--redact",
            "--output",
            redacted.to_str().unwrap(),
        ];
        said(&recorded(name), None, &words).1.unwrap();
        let text = fs::read_to_string(&redacted).unwrap();
        for secret in [
            "Reports",
            "Clock",
            "Web",
            "secret",
            "127.0.0.1",
            "sample:",
            "exec:",
            "http.server",
        ] {
            assert!(!text.contains(secret), "{secret} is in {name}");
        }
        assert_eq!(
            said(&redacted, None, &["replay", "--verify"]).1.unwrap(),
            Answer::Done
        );
        let events = |path: &Path| -> Vec<serde_json::Value> {
            let (output, answer) = said(path, None, &["journal", "log", "--json", "--effects"]);
            answer.unwrap();
            output
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        let (original, redacted) = (events(&recorded(name)), events(&redacted));
        assert_eq!(original.len(), redacted.len());
        for (one, other) in original.iter().zip(&redacted) {
            assert_eq!((&one["kind"], &one["at"]), (&other["kind"], &other["at"]));
            let effects = |event: &serde_json::Value| event["effects"].as_array().unwrap().len();
            assert_eq!(effects(one), effects(other), "{name}: {}", one["text"]);
        }
    }
}

#[test]
fn a_master_is_read_page_by_page_as_its_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let original = recorded("crash_loop");
    let words = [
        "journal",
        "import",
        original.to_str().unwrap(),
        journal.to_str().unwrap(),
    ];
    said(&original, None, &words).1.unwrap();
    let (mut opened, _) = allexmaster_journal::Journal::open(&journal, Default::default()).unwrap();
    let ask: Box<Ask> =
        Box::new(move |wish| Ok(Page::read(&mut opened, PageWish { most: 3, ..wish })));
    let mut online = Past::new(Box::new(
        OnlineSource::open(ask, "a master".to_owned()).unwrap(),
    ));
    let mut file = Past::new(source::open(&original).unwrap());
    let end = file.end().unwrap();
    assert_eq!(online.end().unwrap(), end);
    for sequence in [0, 1, 17, end.sequence] {
        let expected = file.state_after(sequence).unwrap().clone();
        assert_eq!(online.state_after(sequence).unwrap(), &expected);
    }
}

#[test]
fn a_redacted_stretch_from_any_event_on_verifies() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["crash_loop", "adoption", "lost_lanmanager", "port_conflict"] {
        for first in 2..30 {
            let path = folder.path().join(format!("{name}-{first}.ndjson"));
            let since = first.to_string();
            let output = path.to_str().unwrap();
            let words = [
                "journal", "export", "--redact", "--since", &since, "--output", output,
            ];
            said(&recorded(name), None, &words).1.unwrap();
            let verified = said(&path, None, &["replay", "--verify"]).1.unwrap();
            assert_eq!(verified, Answer::Done, "{name} from {first}");
        }
    }
}

#[test]
fn a_stretch_becomes_a_test_with_what_the_rules_make_of_it() {
    let repository = tempfile::tempdir().unwrap();
    let folder = repository.path();
    let whole = recorded("crash_loop");
    let root = folder.to_str().unwrap();
    let words = [
        "journal",
        "test",
        "loop",
        "--since",
        "12",
        "--until",
        "20",
        "--repository",
        root,
    ];
    let refused = said(&whole, None, &words).1.unwrap_err().to_string();
    assert!(refused.contains("is not the repository"), "{refused}");
    fs::create_dir_all(folder.join("crates/inspect/tests/journals")).unwrap();
    fs::create_dir_all(folder.join("snapshots")).unwrap();
    assert_eq!(said(&whole, None, &words).1.unwrap(), Answer::Done);
    let snapshot = folder.join("snapshots/cli__journal_test_loop.snap");
    crate::support::assert_snapshot("made_test", fs::read_to_string(snapshot).unwrap());
    assert!(
        said(&whole, None, &words).1.is_err(),
        "a test is not written over"
    );
}
