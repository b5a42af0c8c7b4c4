//! Reading a log from its oldest file on, and on while it is written and rotated.

use super::rotation::numbered;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// A line of more bytes is told in parts.
const MAX_LINE: usize = 64 * 1024;

/// How long a reader waits for the end of a rotation, and the pause between two tries.
const ROTATED_WITHIN: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Reads one log, each line once. A line is missed only where output was written faster than old files
/// are kept, and may be told twice only where a crash interrupted a rotation.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// How far the first file of `old` was read; the log, where there is none.
    position: u64,
    /// Old files that were not read to their end, the oldest first.
    old: VecDeque<File>,
    /// The newest old file, as it was when the log was looked at.
    newest: Option<FileIdentity>,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

/// The number of a file is given out again, so the time of its creation belongs to it.
type FileIdentity = (u64, Option<SystemTime>);

impl Follower {
    /// Begins with the oldest of the files of a rotation.
    #[must_use]
    pub fn from_the_oldest(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            position: 0,
            old: VecDeque::new(),
            newest: None,
            begun: Vec::new(),
        }
    }

    /// Tells every whole line that was not told yet.
    pub fn read(&mut self, tell: &mut impl FnMut(String)) {
        let mut chunk = vec![0; CHUNK];
        // What cannot be read now is looked for with the next call.
        while let Ok(length @ 1..) = self.next(&mut chunk) {
            self.take(chunk.get(..length).unwrap_or_default(), tell);
        }
    }

    /// Tells the last line although its end is not there.
    pub fn rest(&mut self, tell: &mut impl FnMut(String)) {
        if !self.begun.is_empty() {
            tell(text(&std::mem::take(&mut self.begun)));
        }
    }

    /// Reads on; 0 where there is nothing more now. The lock keeps a rotation away meanwhile, and is
    /// free again on return, so that no reader holds up a rotation for long.
    fn next(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let log = File::open(&self.path)?;
        let begun = Instant::now();
        while fs4::FileExt::try_lock_shared(&log).is_err() {
            // A master that was stopped in the middle of a rotation does not hold a reader for ever.
            if begun.elapsed() >= ROTATED_WITHIN {
                return Ok(0);
            }
            sleep(LOCK_PAUSE);
        }
        self.notice_rotations();
        while let Some(old) = self.old.front() {
            let read = old.read_at(chunk, self.position)?;
            if read > 0 {
                self.position += read as u64;
                return Ok(read);
            }
            // What follows stood behind it in the log.
            self.position = self.position.saturating_sub(old.metadata()?.len());
            self.old.pop_front();
        }
        if log.metadata()?.len() < self.position {
            // Emptied, and no old files are kept.
            self.position = 0;
        }
        let read = log.read_at(chunk, self.position)?;
        self.position += read as u64;
        Ok(read)
    }

    /// What was the front of the log stands in old files now: in those before the one that was the newest.
    fn notice_rotations(&mut self) {
        let newest = identity(&numbered(&self.path, 1));
        if newest == self.newest {
            return;
        }
        let new = (1..).map_while(|number| {
            let path = numbered(&self.path, number);
            let known = identity(&path)? == self.newest.unwrap_or_default();
            (!known).then(|| File::open(path).ok())?
        });
        let new: Vec<File> = new.collect();
        self.old.extend(new.into_iter().rev());
        self.newest = newest;
    }

    fn take(&mut self, bytes: &[u8], tell: &mut impl FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.begun.len() >= MAX_LINE {
                tell(text(&std::mem::take(&mut self.begun)));
            }
        }
    }
}

fn identity(path: &Path) -> Option<FileIdentity> {
    let facts = fs::metadata(path).ok()?;
    Some((facts.ino(), facts.created().ok()))
}

/// A line as it is shown: without what is no text, and without what would steer a terminal.
fn text(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches(['\n', '\r']);
    anstream::adapter::strip_str(line).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::Follower;
    use crate::logs::rotate;

    #[test]
    fn no_line_is_missed_or_told_twice_over_rotations() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let path = folder.path().join("Web.log");
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        let mut follower = Follower::from_the_oldest(&path);
        let (mut told, mut written) = (Vec::new(), Vec::new());
        for number in 0..5_000 {
            let line = format!("line {number} of a service that writes much");
            writeln!(log, "{line}").unwrap();
            written.push(line);
            if number % 700 == 699 || number % 700 == 650 {
                rotate(&path, 5).unwrap();
            }
            // Between two looks there may be several rotations and more lines.
            if number % 833 == 0 {
                follower.read(&mut |line| told.push(line));
            }
        }
        follower.read(&mut |line| told.push(line));
        assert_eq!(told, written);
        // A later reader has what the files that are kept have, in their order.
        let mut kept = Vec::new();
        Follower::from_the_oldest(&path).read(&mut |line| kept.push(line));
        assert!(written.join("\n").ends_with(&kept[1..].join("\n")));
        assert!(kept.len() > 1_000);
    }

    #[test]
    fn no_line_is_missed_or_told_twice_while_the_log_is_rotated_and_one_old_file_is_kept() {
        for old_files in [1, 3] {
            let folder = tempfile::tempdir_in(".").unwrap();
            let path = folder.path().join("Web.log");
            let lines = 20_000;
            let writer = {
                let path = path.clone();
                let mut log = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .unwrap();
                std::thread::spawn(move || {
                    for number in 0..lines {
                        writeln!(log, "line {number} {}", "x".repeat(200)).unwrap();
                    }
                })
            };
            let mut follower = Follower::from_the_oldest(&path);
            let mut told = Vec::new();
            let mut rotations = 0;
            while told.len() < lines {
                let ended = writer.is_finished();
                let before = told.len();
                follower.read(&mut |line| told.push(line));
                if std::fs::metadata(&path).unwrap().len() > 3_000_000 && told.len() > before {
                    let rotating = path.clone();
                    let rotation =
                        std::thread::spawn(move || rotate(&rotating, old_files).unwrap());
                    while !rotation.is_finished() {
                        follower.read(&mut |line| told.push(line));
                    }
                    rotation.join().unwrap();
                    rotations += 1;
                }
                assert!(
                    !ended || told.len() > before || told.len() == lines,
                    "{}",
                    told.len()
                );
            }
            writer.join().unwrap();
            assert!(rotations > 0);
            let expected = |number: usize| format!("line {number} ");
            let wrong = (0..lines).find(|number| !told[*number].starts_with(&expected(*number)));
            assert_eq!(wrong, None);
        }
    }
}
