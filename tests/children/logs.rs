//! Log files: names, and rotation while somebody writes.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use allexmaster::logs::{LogLimits, file_of, rotate, rotate_folder};
use proptest::prelude::*;
use rustix::fs::{FallocateFlags, fallocate};

fn appending(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

/// The whole log, from its oldest file to its newest.
fn whole(path: &Path) -> String {
    let mut text = String::new();
    for number in (1..1_000).rev() {
        text.push_str(&fs::read_to_string(numbered(path, number)).unwrap_or_default());
    }
    text.push_str(&fs::read_to_string(path).unwrap());
    text
}

/// Whether the file system of a folder can cut a file at its front.
fn can_cut(folder: &Path) -> bool {
    let file = tempfile::tempfile_in(folder).unwrap();
    file.set_len(1 << 20).unwrap();
    fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 1 << 19).is_ok()
}

#[test]
fn no_line_is_lost_while_somebody_writes() {
    const LINES: u32 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.log");
    let mut writer = appending(&path);
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in 0..LINES {
                writeln!(writer, "line {line} of a service that says a lot").unwrap();
            }
            written.store(true, Ordering::Release);
        });
        let mut rotations = 0;
        while !written.load(Ordering::Acquire) && rotations < 500 {
            rotate(&path, 1_000).unwrap();
            rotations += 1;
        }
    });
    rotate(&path, 1_000).unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= 8_192);
    if can_cut(folder.path()) {
        let expected: String = (0..LINES)
            .map(|line| format!("line {line} of a service that says a lot\n"))
            .collect();
        assert!(whole(&path) == expected, "the log has a gap");
    }
}

#[test]
fn only_so_many_old_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.log");
    for round in 0..5_u8 {
        appending(&path).write_all(&[b'a' + round; 10_000]).unwrap();
        rotate(&path, 2).unwrap();
    }
    let names: BTreeSet<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = ["service.log", "service.log.1", "service.log.2"];
    assert_eq!(names, BTreeSet::from(expected.map(str::to_owned)));

    appending(&path).write_all(&[b'z'; 100_000]).unwrap();
    rotate(&path, 0).unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= 4_096);
}

#[test]
fn only_logs_that_are_too_large_are_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let limits = LogLimits {
        file_size: 65_536,
        old_files: 1,
    };
    for (name, size) in [
        ("large.log", 100_000),
        ("small.log", 65_536),
        ("other", 100_000),
    ] {
        fs::write(folder.path().join(name), vec![b'x'; size]).unwrap();
    }
    std::os::unix::fs::symlink("other", folder.path().join("link.log")).unwrap();
    rotate_folder(folder.path(), limits);
    assert!(numbered(&folder.path().join("large.log"), 1).exists());
    assert!(!numbered(&folder.path().join("small.log"), 1).exists());
    assert!(!numbered(&folder.path().join("link.log"), 1).exists());
    assert_eq!(
        fs::metadata(folder.path().join("other")).unwrap().len(),
        100_000
    );
    rotate_folder(&folder.path().join("nowhere"), limits);
}

#[test]
fn names_stay_readable_where_they_can() {
    let name = |instance: &str| {
        file_of(Path::new("/logs"), &instance.into())
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(name("Time"), "/logs/Time.log");
    assert_eq!(name("a/../b c"), "/logs/a%2f..%2fb%20c.log");
    assert_eq!(name(".."), "/logs/%2e..log");
    assert_eq!(name(""), "/logs/%.log");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_name_is_one_file_of_its_own(one in ".{0,300}", other in ".{0,300}") {
        let folder = Path::new("/logs");
        let file = file_of(folder, &one.as_str().into());
        prop_assert_eq!(file.parent(), Some(folder));
        let name = file.file_name().unwrap().to_str().unwrap();
        prop_assert!(name.len() <= 220 && !name.starts_with('.') && name.ends_with(".log"));
        prop_assert_eq!(one == other, file == file_of(folder, &other.as_str().into()));
    }
}
