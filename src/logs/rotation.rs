//! The rotation of one log file, and of all in a folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use allexmaster_keeper::os::{self, Errno};

use super::file_name;

/// The old files are their user's alone, as the log is.
const MODE: u32 = 0o600;

/// How large logs may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLimits {
    /// A log file of more bytes is rotated.
    pub file_size: u64,
    /// So many old files are kept of each log.
    pub old_files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            file_size: 10 * 1024 * 1024,
            old_files: 3,
        }
    }
}

/// Rotates the logs of a folder that are too large. What cannot be rotated is left as it is, with a
/// warning.
pub fn rotate_folder(folder: &Path, limits: LogLimits) {
    let Ok(entries) = fs::read_dir(folder) else {
        // No child has been started yet.
        return;
    };
    for entry in entries.flatten() {
        let is_log = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.ends_with(file_name::ENDING));
        // Not followed: only what the master made is touched.
        let size = match entry.metadata() {
            Ok(facts) if facts.is_file() => facts.len(),
            Ok(_) | Err(_) => continue,
        };
        if is_log && size > limits.file_size {
            let path = entry.path();
            if let Err(error) = rotate(&path, limits.old_files) {
                tracing::warn!(file = %path.display(), %error, "a log file cannot be rotated");
            }
        }
    }
}

/// Moves the content of a log file to `<file>.1`, that of `<file>.1` to `<file>.2`, and so on; of
/// the old files `old_files` are kept.
///
/// # Errors
/// The disk is full, or something else prevents it. The log itself is then whole.
pub fn rotate(path: &Path, old_files: u32) -> io::Result<()> {
    let log = OpenOptions::new().read(true).write(true).open(path)?;
    let size = log.metadata()?.len();
    let blocks = whole_blocks(&log, size)?;
    match cut_front(path, &log, blocks, old_files) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => {
            // Copied again, to its very end. The window described above begins here.
            copy_front(path, &log, u64::MAX, old_files)?;
            log.set_len(0)
        }
        result => result,
    }
}

fn cut_front(path: &Path, log: &File, length: u64, old_files: u32) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    can_cut(path)?;
    copy_front(path, log, length, old_files)?;
    Ok(os::cut_front(log, length)?)
}

/// Whether the file system can cut at the front: tried on a small file, so that nothing is copied
/// in vain.
fn can_cut(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let trial = tempfile::tempfile_in(folder)?;
    let block = os::block_size(&trial)?;
    trial.set_len(block.saturating_mul(2))?;
    Ok(os::cut_front(&trial, block)?)
}

/// The largest number of whole blocks that leaves something behind: the kernel refuses to cut
/// everything.
fn whole_blocks(log: &File, size: u64) -> io::Result<u64> {
    let block = os::block_size(log)?;
    Ok(size.saturating_sub(1) / block * block)
}

/// Copies the first `length` bytes, or all there are, to `<file>.1`, after moving the older ones on.
fn copy_front(path: &Path, log: &File, length: u64, old_files: u32) -> io::Result<()> {
    if old_files == 0 {
        return Ok(());
    }
    let partial = numbered(path, "partial");
    let mut copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&partial)?;
    let mut from = log;
    from.rewind()?;
    io::copy(&mut from.take(length), &mut copy)?;
    for number in (1..old_files).rev() {
        let older = numbered(path, &number.saturating_add(1).to_string());
        match fs::rename(numbered(path, &number.to_string()), older) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(partial, numbered(path, "1"))
}

pub(super) fn numbered(path: &Path, number: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(number);
    PathBuf::from(name)
}
