//! What the documents claim of the layout, held by a test. Everything is derived from the tree and
//! from `cargo metadata`; the only lists here are rules.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The only modules of `src` that may know a driver: they put the program together.
const COMPOSERS: [&str; 3] = ["daemon", "cli", "lib"];

/// A text file, by its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The code alone, without comments.
    fn code(&self) -> String {
        let lines = self.text.lines();
        let code = lines.filter(|line| !line.trim_start().starts_with("//"));
        code.collect::<Vec<_>>().join("\n")
    }

    /// The module of `src` that it belongs to.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = inside.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

/// All files with an extension below a folder, or the file itself.
fn files(under: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(ROOT).join(under)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(entries(&path));
        } else if path.extension().is_some_and(|of| of == extension) {
            let shown = path.strip_prefix(ROOT).unwrap();
            found.push(Source {
                path: shown.to_str().unwrap().to_owned(),
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
    assert!(!found.is_empty(), "{under} has no .{extension} files");
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("node_modules"))
}

fn all_sources() -> Vec<Source> {
    ["src", "tests", "state", "journal", "crates"]
        .into_iter()
        .flat_map(|under| files(under, "rs"))
        .collect()
}

/// The README and all documents, as one text.
fn documents() -> String {
    let mut all = files("README.md", "md");
    all.extend(files("docs", "md"));
    all.into_iter().map(|document| document.text).collect()
}

fn assert_none(of: Vec<Source>, what: &str, breaks: impl Fn(&Source) -> bool) {
    let breaking = of.into_iter().filter(breaks);
    let breaking: Vec<String> = breaking.map(|source| source.path).collect();
    assert!(breaking.is_empty(), "{what}: {breaking:?}");
}

fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.current_dir(ROOT).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What each crate of the workspace depends on, tests aside; own crates without their prefix.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let short = |name: &Value| {
        let name = name.as_str().unwrap();
        name.strip_prefix("allexmaster-").unwrap_or(name).to_owned()
    };
    let packages = metadata["packages"].as_array().unwrap();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let normal = all.filter(|dependency| dependency["kind"].is_null());
        normal
            .map(|dependency| short(&dependency["name"]))
            .collect()
    };
    packages
        .iter()
        .map(|package| (short(&package["name"]), of(package)))
        .collect()
}

#[test]
fn the_picture_of_the_crates_is_the_truth() {
    let crates = dependencies();
    let mut edges = BTreeSet::new();
    for (from, to) in &crates {
        let own = to.iter().filter(|name| crates.contains_key(*name));
        edges.extend(own.map(|to| format!("{from} -> {to}")));
    }
    let documents = documents();
    let mut pictures = documents.split("```crates\n").skip(1);
    let picture = pictures.next().expect("a block of lines `from -> to`");
    let picture = picture.split("```").next().unwrap();
    let drawn: BTreeSet<String> = picture.lines().map(str::to_owned).collect();
    assert_eq!(drawn, edges, "left: the documents; right: the manifests");
    assert!(pictures.next().is_none(), "one picture is enough");
}

#[test]
fn the_machines_know_nothing_but_serde() {
    let crates = dependencies();
    for (name, own) in [("machine", &[][..]), ("state", &["machine"])] {
        let allowed: BTreeSet<String> = ["serde", "serde_json"]
            .iter()
            .chain(own)
            .map(|name| (*name).to_owned())
            .collect();
        assert!(
            crates[name].is_subset(&allowed),
            "{name}: {:?}",
            crates[name]
        );
    }
    for root in ["crates/machine/src/lib.rs", "state/src/lib.rs"] {
        let lib = fs::read_to_string(Path::new(ROOT).join(root)).unwrap();
        assert!(lib.contains("#![no_std]") && lib.contains("#![forbid(unsafe_code)]"));
        assert!(!lib.contains("extern crate std"), "{root}");
    }
}

#[test]
fn the_sessions_have_neither_tokio_nor_descriptors() {
    let package = ["tree", "--offline", "--prefix", "none", "--edges", "normal"];
    let tree = cargo(&[&package[..], &["--package", "allexmaster-sessions"]].concat());
    let depends_on = |name: &str| {
        tree.lines()
            .any(|line| line.starts_with(&format!("{name} ")))
    };
    for name in ["tokio", "rustix", "libc", "socket2"] {
        assert!(!depends_on(name), "sessions depends on {name}:\n{tree}");
    }
}

#[test]
fn only_the_journal_knows_sled() {
    let crates = dependencies().into_iter();
    let knowing = crates.filter(|(_, all)| all.contains("sled"));
    let knowing: Vec<String> = knowing.map(|(name, _)| name).collect();
    assert_eq!(knowing, ["journal"]);
}

#[test]
fn the_protocol_meets_sockets_only_behind_its_feature() {
    let lib = fs::read_to_string(Path::new(ROOT).join("crates/protocol/src/lib.rs")).unwrap();
    let behind = lib.split("#[cfg(feature = \"tokio\")]\n").skip(1);
    let behind: Vec<String> = behind
        .filter_map(|rest| rest.lines().next()?.strip_suffix(';')?.rsplit(' ').next())
        .map(|module| format!("crates/protocol/src/{module}"))
        .collect();
    let of = files("crates/protocol/src", "rs");
    assert_none(of, "tokio is named outside the feature `tokio`", |source| {
        let is_behind = behind.iter().any(|module| source.path.starts_with(module));
        source.code().contains("tokio::") && !is_behind
    });
}

#[test]
fn only_what_composes_the_program_knows_a_driver() {
    let sources = files("src", "rs");
    let drivers: BTreeSet<&str> = sources
        .iter()
        .filter(|source| source.code().contains("use crate::sink::"))
        .map(Source::module)
        .filter(|module| !COMPOSERS.contains(module) && *module != "machine")
        .collect();
    assert!(drivers.contains("child"), "{drivers:?}");
    for source in &sources {
        let module = source.module();
        for driver in drivers.iter().filter(|driver| **driver != module) {
            let knows = source.code().contains(&format!("crate::{driver}::"));
            assert!(
                !knows || COMPOSERS.contains(&module),
                "{} knows the driver {driver}",
                source.path
            );
        }
    }
}

#[test]
fn unsafe_code_stands_in_one_file_below_the_seam_of_the_system() {
    let is_unsafe = |source: &Source| {
        let code = source.code();
        let marks = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
        marks.iter().any(|mark| code.contains(mark)) && !source.path.ends_with("tidy.rs")
    };
    let unsafe_files = all_sources().into_iter().filter(is_unsafe);
    let unsafe_files: Vec<String> = unsafe_files.map(|source| source.path).collect();
    assert_eq!(unsafe_files.len(), 1, "{unsafe_files:?}");
    assert!(unsafe_files[0].starts_with("crates/keeper/src/os/"));
}

#[test]
fn nothing_is_left_undone() {
    // Written in two halves, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
    ];
    assert_none(all_sources(), "marks of missing work", |source| {
        marks.iter().any(|mark| source.text.contains(mark))
    });
}

#[test]
fn the_documents_name_every_crate_and_every_folder_of_the_program() {
    let documents = documents();
    let mut folders: Vec<PathBuf> = ["src", "crates"]
        .into_iter()
        .flat_map(|under| entries(&Path::new(ROOT).join(under)))
        .filter(|path| path.is_dir())
        .collect();
    folders
        .extend(["state", "journal", "tests", "snapshots"].map(|name| Path::new(ROOT).join(name)));
    for folder in folders {
        let shown = folder.strip_prefix(ROOT).unwrap().display();
        assert!(
            documents.contains(&format!("`{shown}/`")) || documents.contains(&format!("({shown}/")),
            "no document names `{shown}/`"
        );
    }
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    let mut documents = files("docs", "md");
    documents.extend(files("README.md", "md"));
    for document in documents {
        let folder = Path::new(ROOT).join(&document.path);
        let folder = folder.parent().unwrap();
        let links = document.text.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            let is_here = path.is_empty() || link.contains("://") || folder.join(path).exists();
            assert!(is_here, "{}: {link} leads nowhere", document.path);
        }
    }
}
