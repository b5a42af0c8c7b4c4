//! The rotation of one log file, and of all in a folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
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

/// So much is copied and cut off at a time: all the room that a rotation needs, and what stands twice in
/// the log after a crash in between.
const PIECE: u64 = 1024 * 1024;

/// The ending of what earlier versions left behind where a disk was full.
const PARTIAL: &str = ".log.partial";

/// Rotates the logs of a folder that are too large. What cannot be rotated is left as it is, with a
/// warning.
pub fn rotate_folder(folder: &Path, limits: LogLimits) {
    let Ok(entries) = fs::read_dir(folder) else {
        // No child has been started yet.
        return;
    };
    for entry in entries.flatten() {
        rotate_if_large(&entry.path(), limits);
    }
}

/// Rotates a log file if it is too large. Another file, or a link, is not touched.
pub(super) fn rotate_if_large(path: &Path, limits: LogLimits) {
    let is_log = path
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.ends_with(file_name::ENDING));
    // Not followed: only what the master made is touched.
    let is_large = || {
        let facts = fs::symlink_metadata(path);
        facts.is_ok_and(|facts| facts.is_file() && facts.len() > limits.file_size)
    };
    if is_log
        && is_large()
        && let Err(error) = rotate_within(path, limits)
    {
        tracing::warn!(file = %path.display(), %error, "a log file cannot be rotated");
    }
}

/// Removes the unfinished copies that earlier versions left.
pub(super) fn remove_partial(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with(PARTIAL) {
            // What stays is in nobody's way but the disk's, and the next start tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Moves the content of a log file to `<file>.1`, that of `<file>.1` to `<file>.2`, and so on; of
/// the old files `old_files` are kept.
///
/// # Errors
/// Something prevents it. What was not moved is still in the log.
pub fn rotate(path: &Path, old_files: u32) -> io::Result<()> {
    let file_size = u64::MAX;
    rotate_within(
        path,
        LogLimits {
            file_size,
            old_files,
        },
    )
}

/// The same until the log is within its limits; no old file gets larger than they say.
fn rotate_within(path: &Path, limits: LogLimits) -> io::Result<()> {
    let log = OpenOptions::new().read(true).write(true).open(path)?;
    // Readers wait for the end of a rotation. It does not wait for them: one may be stopped.
    let _ = fs4::FileExt::try_lock(&log);
    if !can_cut(path)? {
        return copy_and_empty(path, &log, limits);
    }
    let block = os::block_size(&log)?;
    let most = (limits.file_size / block * block).max(block);
    // A child that writes faster than it is copied is left to the next look.
    let rounds = log.metadata()?.len() / most + 2;
    for _ in 0..rounds {
        let size = log.metadata()?.len();
        // The kernel refuses to cut everything.
        let blocks = size.saturating_sub(1) / block * block;
        if blocks == 0 {
            break;
        }
        move_front(path, &log, blocks.min(most), block, limits.old_files)?;
        if log.metadata()?.len() <= limits.file_size {
            break;
        }
    }
    Ok(())
}

/// Whether the file system can cut at the front: tried on a small file, so that nothing is copied
/// in vain.
fn can_cut(path: &Path) -> io::Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let tried = tempfile::tempfile_in(folder).and_then(|trial| {
        let block = os::block_size(&trial)?;
        trial.set_len(block.saturating_mul(2))?;
        Ok(os::cut_front(&trial, block)?)
    });
    match tried {
        Ok(()) => Ok(true),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => Ok(false),
        // Where there is no room for the trial, the log itself shows it.
        Err(error) if is_full(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Moves so many bytes, which are whole blocks, from the front of the log to a new `<file>.1`: piece by
/// piece. Where the disk is full, the oldest output makes room.
fn move_front(path: &Path, log: &File, length: u64, block: u64, old_files: u32) -> io::Result<()> {
    let mut copy = match old_files {
        0 => None,
        _ => Old::begin(path, old_files)?,
    };
    let piece = PIECE.next_multiple_of(block);
    let mut left = length;
    while left > 0 {
        let part = left.min(piece);
        if let Some(copy) = &mut copy {
            copy.add(log, 0, part)?;
        }
        os::cut_front(log, part)?;
        left -= part;
    }
    Ok(())
}

/// Copies the log, of which at most a file's worth is kept, to a new `<file>.1`, and empties it. What is
/// written between the end of the copy and the emptying is lost.
fn copy_and_empty(path: &Path, log: &File, limits: LogLimits) -> io::Result<()> {
    if limits.old_files > 0
        && let Some(mut copy) = Old::begin(path, limits.old_files)?
    {
        let mut offset = log.metadata()?.len().saturating_sub(limits.file_size);
        loop {
            let size = log.metadata()?.len();
            if offset >= size {
                break;
            }
            let part = (size - offset).min(PIECE);
            copy.add(log, offset, part)?;
            offset += part;
        }
    }
    log.set_len(0)
}

/// The newest old file, while it is written.
struct Old<'path> {
    path: &'path Path,
    old_files: u32,
    file: File,
}

impl<'path> Old<'path> {
    /// Moves the older files on and begins a new one; nothing where the disk has no room for it at all.
    fn begin(path: &'path Path, old_files: u32) -> io::Result<Option<Self>> {
        // A new file, so that readers see that it is another one.
        if old_files == 1 {
            let _ = fs::remove_file(numbered(path, 1));
        }
        for number in (1..old_files).rev() {
            let older = numbered(path, number.saturating_add(1));
            match fs::rename(numbered(path, number), older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(MODE);
        loop {
            match options.open(numbered(path, 1)) {
                Ok(file) => {
                    return Ok(Some(Self {
                        path,
                        old_files,
                        file,
                    }));
                }
                Err(error) if !is_full(&error) => return Err(error),
                Err(_) if remove_oldest(path, old_files)? => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// Copies a part of the log to the end. Where there is no room, the oldest of the output is removed:
    /// old files, then what is in this one, then the part itself.
    fn add(&mut self, log: &File, offset: u64, length: u64) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        log.read_exact_at(&mut bytes, offset)?;
        loop {
            let before = self.file.metadata()?.len();
            match self.file.write_all_at(&bytes, before) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.file.set_len(before)?;
                    if !is_full(&error) {
                        return Err(error);
                    }
                }
            }
            if remove_oldest(self.path, self.old_files)? {
                continue;
            }
            if before == 0 {
                return Ok(());
            }
            self.file.set_len(0)?;
        }
    }
}

/// Removes the oldest of the old files but the first; false where there is none.
fn remove_oldest(path: &Path, old_files: u32) -> io::Result<bool> {
    for number in (2..=old_files).rev() {
        match fs::remove_file(numbered(path, number)) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
