//! What the README claims of the layout, held by a test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A source file, by its path from the root.
struct Source {
    path: String,
    text: String,
}

fn sources(under: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(under)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let shown = path
                    .strip_prefix(ROOT)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push(Source {
                    path: shown,
                    text: fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    assert!(!found.is_empty(), "{under} has no source files");
    found
}

fn all_sources() -> Vec<Source> {
    ["src", "tests", "state", "journal", "crates"]
        .into_iter()
        .flat_map(sources)
        .collect()
}

fn assert_none(of: Vec<Source>, what: &str, breaks: impl Fn(&Source) -> bool) {
    let breaking: Vec<String> = of
        .into_iter()
        .filter(|source| breaks(source))
        .map(|source| source.path)
        .collect();
    assert!(breaking.is_empty(), "{what}: {breaking:?}");
}

fn dependencies(of: &str) -> Vec<String> {
    let manifest = fs::read_to_string(Path::new(ROOT).join(of).join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let section = rest.split("\n[").next().unwrap();
    section
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split(['.', ' ', '=']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_rules_depend_on_serde_alone() {
    assert_eq!(dependencies("crates/machine"), ["serde", "serde_json"]);
    assert_eq!(
        dependencies("state"),
        ["allexmaster-machine", "serde", "serde_json"]
    );
}

#[test]
fn dependencies_point_one_way() {
    let own = |of: &str| -> Vec<String> {
        let all = dependencies(of).into_iter();
        all.filter(|name| name.starts_with("allexmaster-"))
            .collect()
    };
    assert_eq!(own("crates/machine"), [""; 0]);
    assert_eq!(own("state"), ["allexmaster-machine"]);
    assert_eq!(own("crates/protocol"), [""; 0]);
    assert_eq!(own("journal"), ["allexmaster-machine"]);
    assert_eq!(
        own("crates/lanmanager"),
        [
            "allexmaster-journal",
            "allexmaster-machine",
            "allexmaster-protocol"
        ]
    );
}

#[test]
fn only_the_journal_knows_sled() {
    let of = ["src", "state", "crates"]
        .into_iter()
        .flat_map(sources)
        .collect();
    assert_none(of, "sled is named outside the journal", |source| {
        source.text.contains("sled::")
    });
}

#[test]
fn only_pump_and_handshakes_of_the_protocol_know_sockets() {
    let of = sources("crates/protocol/src");
    assert_none(
        of,
        "tokio is named outside the pump and the handshakes",
        |source| {
            source.text.contains("tokio::")
                && source.path != "crates/protocol/src/pump.rs"
                && !source.path.starts_with("crates/protocol/src/handshake/")
        },
    );
}

#[test]
fn drivers_never_import_one_another() {
    let drivers = ["lan", "local", "child", "probe", "logs"];
    for driver in drivers {
        let of = sources("src").into_iter();
        let of = of
            .filter(|source| source.path.starts_with(&format!("src/{driver}/")))
            .collect();
        assert_none(of, "a driver imports another one", |source| {
            drivers
                .iter()
                .filter(|other| **other != driver)
                .any(|other| {
                    // File names of logs are a matter of both.
                    !(driver == "child" && *other == "logs")
                        && source.text.contains(&format!("crate::{other}::"))
                })
        });
    }
}

#[test]
fn the_rules_know_no_clock_and_no_chance() {
    let lib = fs::read_to_string(Path::new(ROOT).join("state/src/lib.rs")).unwrap();
    assert!(lib.contains("#![no_std]") && lib.contains("#![forbid(unsafe_code)]"));
    assert!(!lib.contains("extern crate std"));
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let of: Vec<Source> = all_sources()
        .into_iter()
        .filter(|source| !source.path.ends_with("tidy.rs"))
        .filter(|source| source.text.contains("unsafe {"))
        .collect();
    let files: Vec<String> = of.into_iter().map(|source| source.path).collect();
    assert_eq!(files, ["crates/keeper/src/os/linux/syscalls.rs"]);
}

#[test]
fn files_are_small() {
    assert_none(all_sources(), "longer than 530 lines", |source| {
        source.text.lines().count() > 530
    });
}

#[test]
fn nothing_is_left_undone() {
    // Written in two halves, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("#[ig", "nore"),
    ];
    assert_none(all_sources(), "marks of missing work", |source| {
        marks.iter().any(|mark| source.text.contains(mark))
    });
}

#[test]
fn the_readme_maps_every_folder() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    for under in [
        "src",
        "crates/lanmanager/src",
        "crates/protocol/src",
        "journal/src",
    ] {
        for entry in fs::read_dir(Path::new(ROOT).join(under)).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                let name = entry.file_name();
                let name = format!("{}/", name.to_str().unwrap());
                assert!(
                    readme.contains(&name),
                    "README does not name {under}/{name}"
                );
            }
        }
    }
}
