//! Reading a log from its oldest file on, and on while it is written and rotated.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::rotation::numbered;

/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// A line of more bytes is told in parts.
const MAX_LINE: usize = 64 * 1024;
/// So many looks in a row may find a copy whose original is not cut off yet. After that the copy counts
/// as what a crash in the middle left: a part that is there twice.
const MOST_WAITS: u32 = 20;

/// Reads one log, each line once.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// How far the log was read.
    position: u64,
    /// The newest old file, as it was when the log was read.
    newest: Option<u64>,
    /// How often in a row a copy was found whose original is not cut off yet.
    waits: u32,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

impl Follower {
    /// Begins with the oldest of the files of a rotation.
    #[must_use]
    pub fn from_the_oldest(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            position: 0,
            newest: None,
            waits: 0,
            begun: Vec::new(),
        }
    }

    /// Tells every whole line that was not told yet.
    pub fn read(&mut self, tell: &mut impl FnMut(String)) {
        // What cannot be read now is looked for with the next call.
        let _ = self.try_read(tell);
    }

    /// Tells the last line although its end is not there.
    pub fn rest(&mut self, tell: &mut impl FnMut(String)) {
        if !self.begun.is_empty() {
            tell(text(&std::mem::take(&mut self.begun)));
        }
    }

    fn try_read(&mut self, tell: &mut impl FnMut(String)) -> io::Result<()> {
        let newest = self.newest_old();
        if newest != self.newest {
            if !self.turn(newest, tell)? {
                return Ok(());
            }
            self.newest = newest;
            self.waits = 0;
        }
        let log = File::open(&self.path)?;
        if log.metadata()?.len() < self.position {
            // Emptied, and no old files are kept.
            self.position = 0;
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = log.read_at(&mut chunk, self.position)?;
            // The copy gets its name before its original is cut off: without another copy, what was read
            // stood where it was looked for.
            if length == 0 || self.newest_old() != self.newest {
                return Ok(());
            }
            self.position += length as u64;
            self.take(chunk.get(..length).unwrap_or_default(), tell);
        }
    }

    /// The log was rotated. False while the copied part is not cut off yet.
    fn turn(&mut self, newest: Option<u64>, tell: &mut impl FnMut(String)) -> io::Result<bool> {
        let begins = self.newest.is_none() && self.position == 0;
        let Some(_) = newest else {
            return Ok(true);
        };
        if begins {
            let mut number = 1_u32;
            while numbered(&self.path, number + 1).is_file() {
                number += 1;
            }
            for number in (1..=number).rev() {
                let old = fs::read(numbered(&self.path, number))?;
                self.take(&old, tell);
            }
            return Ok(true);
        }
        let old = File::open(numbered(&self.path, 1))?;
        let length = old.metadata()?.len();
        // What is left behind is less than a block, and what was written meanwhile.
        if fs::metadata(&self.path)?.len() >= length {
            self.waits += 1;
            return Ok(self.waits > MOST_WAITS);
        }
        let mut chunk = vec![0; CHUNK];
        while self.position < length {
            let read = old.read_at(&mut chunk, self.position)?;
            if read == 0 {
                break;
            }
            self.position += read as u64;
            self.take(chunk.get(..read).unwrap_or_default(), tell);
        }
        self.position = self.position.saturating_sub(length);
        Ok(true)
    }

    fn newest_old(&self) -> Option<u64> {
        let facts = fs::metadata(numbered(&self.path, 1)).ok()?;
        Some(facts.ino())
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
            if number % 700 == 699 {
                rotate(&path, 3).unwrap();
            }
            // Between two looks there may be a rotation and more lines, but not two rotations.
            if number % 333 == 0 {
                follower.read(&mut |line| told.push(line));
            }
        }
        follower.read(&mut |line| told.push(line));
        assert_eq!(told, written);
        // A later reader has what the files that are kept have, in their order.
        let mut kept = Vec::new();
        Follower::from_the_oldest(&path).read(&mut |line| kept.push(line));
        assert!(written.join("\n").ends_with(&kept[1..].join("\n")));
        assert!(kept.len() > 2_000);
    }
}
