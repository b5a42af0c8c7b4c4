//! Log files: names, and rotation while somebody writes.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use allexmaster::logs::{LogLimits, file_of, rotate, rotate_all, rotate_folder};
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

#[test]
fn on_a_full_disk_the_oldest_output_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    // Not every user may mount, and not every machine has an ext4.
    let Some(_disk) = Ext4::mount(folder.path()) else {
        return;
    };
    let path = folder.path().join("service.log");
    let limits = LogLimits {
        file_size: 1024 * 1024,
        old_files: 2,
    };
    fs::write(numbered(&path, 1), vec![b'a'; 500_000]).unwrap();
    fs::write(numbered(&path, 2), vec![b'b'; 500_000]).unwrap();
    let mut log = appending(&path);
    while log.write_all(&[b'x'; 4096]).is_ok() {}
    rotate_folder(folder.path(), limits);
    assert!(fs::metadata(&path).unwrap().len() <= limits.file_size);
    assert!(total(folder.path()) <= 4 * 1024 * 1024);
    log.write_all(b"and there is room again\n").unwrap();
    assert!(whole(&path).ends_with("room again\n"));
}

/// A small file system of its own, which can cut files at their front.
struct Ext4(PathBuf);

impl Ext4 {
    fn mount(folder: &Path) -> Option<Self> {
        let image = tempfile::NamedTempFile::new().ok()?;
        image.as_file().set_len(16 * 1024 * 1024).ok()?;
        let done = |program: &str, words: &[&std::ffi::OsStr]| {
            let output = std::process::Command::new(program).args(words).output();
            output
                .is_ok_and(|output| output.status.success())
                .then_some(())
        };
        let (image, at) = (image.path().as_os_str(), folder.as_os_str());
        done("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image])?;
        done("mount", &["-o".as_ref(), "loop".as_ref(), image, at])?;
        Some(Self(folder.to_owned()))
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let mut umount = std::process::Command::new("umount");
        let _ = umount.arg("-l").arg(&self.0).status();
    }
}

/// The length of all files of a log together.
fn total(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_by_20_mb_a_second_keeps_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    if !can_cut(folder.path()) {
        return;
    }
    let limits = LogLimits {
        file_size: 1024 * 1024,
        old_files: 3,
    };
    fs::write(folder.path().join("other.log.partial"), b"left by 0.2.0").unwrap();
    let rotating = tokio::spawn(rotate_all(folder.path().to_owned(), move || limits));
    let path = folder.path().join("service.log");
    let writing = tokio::task::spawn_blocking(move || {
        let (mut writer, line) = (appending(&path), [b'x'; 20_000]);
        let began = std::time::Instant::now();
        let mut most = 0;
        // 40 MB in two seconds.
        for number in 0..2_000 {
            writer.write_all(&line).unwrap();
            let due = std::time::Duration::from_millis(number);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            if number % 10 == 0 {
                most = most.max(total(path.parent().unwrap()));
            }
        }
        most
    });
    let most = writing.await.unwrap();
    rotating.abort();
    // The sum of the files, a tenth, and 1 MiB; and 2 MiB where the machine that tests is busy.
    let limit = 4 * limits.file_size;
    assert!(most <= limit + limit / 10 + 3 * 1024 * 1024, "{most}");
    for number in 1..=3 {
        let old = numbered(&folder.path().join("service.log"), number);
        // One may just be on its way to the next number.
        let length = fs::metadata(old).map_or(0, |facts| facts.len());
        assert!(length <= limits.file_size, "{number}: {length}");
    }
    assert!(!folder.path().join("other.log.partial").exists());
}
