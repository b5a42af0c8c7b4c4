//! Files that are there whole or not at all, also after a power cut.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::folder::{CHECKPOINT, HEADER, HISTORY};
use super::history;
use super::{Part, StoreError};

/// The extension of a file that is not finished. Such a file is ignored and overwritten.
pub(super) const UNFINISHED: &str = "unfinished";

/// So much has to be free before a journal that failed is opened again: a segment of the database
/// and a checkpoint, so that it does not fail again at once.
const ROOM_WANTED: usize = 1024 * 1024;

/// The file that [`prove_room`] writes and removes.
const ROOM: &str = "room";

/// A number in a file, written often and never synced: the kernel keeps it over a kill of the process,
/// a power cut may bring an older one back.
pub(super) struct Note {
    path: PathBuf,
    file: File,
    number: u64,
}

impl Note {
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed("open", &path))?;
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        read.map_err(failed("read", &path))?;
        let number = number_in(&bytes);
        Ok(Self { path, file, number })
    }

    /// The number in a file that is not to be touched.
    pub(super) fn read_only(path: &Path) -> Result<u64, StoreError> {
        Ok(number_in(&read_if_there(path)?.unwrap_or_default()))
    }

    /// Written twice, to know a torn one.
    pub(super) fn write(&mut self, number: u64) -> Result<(), StoreError> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(&bytes));
        written.map_err(failed("write", &self.path))?;
        self.number = number;
        Ok(())
    }

    /// The number, or 0 where there is none that can be believed.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

fn number_in(bytes: &[u8]) -> u64 {
    let whole = bytes.len() == 16 && bytes[..8] == bytes[8..];
    let number = bytes.first_chunk::<8>().filter(|_| whole);
    number.map_or(0, |number| u64::from_be_bytes(*number))
}

/// Writes `path` so that it has either its old content or `bytes`, and is durable on return.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let unfinished = path.with_extension(UNFINISHED);
    let written = create_private(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if written.is_err() {
        // On a full disk even the beginning of it is in the way; an error here changes nothing.
        let _ = fs::remove_file(&unfinished);
    }
    written.map_err(failed("write", &unfinished))?;
    fs::rename(&unfinished, path).map_err(failed("put in place", path))?;
    sync_folder(parent(path))
}

/// Finds out whether the disk takes as much as a journal needs to go on, by writing it: neither
/// quotas nor limits nor a disk that only reads can be asked.
pub(super) fn prove_room(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(ROOM).with_extension(UNFINISHED);
    let written = create_private(&path).and_then(|mut file| {
        file.write_all(&vec![0; ROOM_WANTED])?;
        file.sync_all()
    });
    // The next try writes over what cannot be removed.
    let _ = fs::remove_file(&path);
    written.map_err(failed("find room for the journal: cannot write", &path))
}

/// The content of `path`, or nothing where it does not exist.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// The state that a compacted journal begins with: twice, because nothing else could replace it.
const BASES: [&str; 2] = ["base", "base-copy"];

/// All copies of a part; see [`super::Store::get`].
pub(super) fn read_part(folder: &Path, part: Part) -> Result<Vec<Vec<u8>>, StoreError> {
    let names: &[&str] = match part {
        Part::Header => &[HEADER],
        Part::Base => &BASES,
        Part::Checkpoint => &[CHECKPOINT],
        Part::State(sequence) => {
            let path = history::state_path(&folder.join(HISTORY), sequence);
            return Ok(read_if_there(&path)?.into_iter().collect());
        }
    };
    let mut copies = Vec::new();
    for name in names {
        copies.push(read_if_there(&folder.join(name))?);
    }
    if copies.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    Ok(copies.into_iter().map(Option::unwrap_or_default).collect())
}

/// Replaces a part; see [`super::Store::put`].
pub(super) fn write_part(folder: &Path, part: Part, bytes: &[u8]) -> Result<(), StoreError> {
    match part {
        Part::Header => write_whole(&folder.join(HEADER), bytes),
        Part::Base => write_bases(folder, bytes),
        Part::Checkpoint => write_whole(&folder.join(CHECKPOINT), bytes),
        Part::State(sequence) => {
            let path = history::state_path(&folder.join(HISTORY), sequence);
            create_folder(parent(&path))?;
            write_whole(&path, bytes)
        }
    }
}

/// Writes all copies of the base, one after the other: one of them is whole at any moment.
fn write_bases(folder: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    for name in BASES {
        write_whole(&folder.join(name), bytes)?;
    }
    Ok(())
}

/// The rights on a folder and on a file that only their owner may look into: needs and answers hold
/// passwords.
const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// Creates or empties a file that only its owner may read.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, PRIVATE_FILE);
    options.open(path)
}

/// Takes all rights of others from a folder and from everything in it: earlier versions, and sled, leave
/// what they create to the umask. Links are not followed, and rights of the owner are not added.
///
/// # Errors
/// The first file or folder whose rights cannot be changed; the others are changed all the same.
pub fn keep_private(folder: &Path) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mut left = vec![folder.to_owned()];
        while let Some(path) = left.pop() {
            // What vanished meanwhile is nobody's to read.
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            let file_type = metadata.file_type();
            if file_type.is_symlink() {
                continue;
            }
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & !PRIVATE_FOLDER != 0 {
                let private = fs::Permissions::from_mode(mode & PRIVATE_FOLDER);
                if let Err(error) = fs::set_permissions(&path, private) {
                    outcome = outcome.and(Err(failed("keep for its owner alone", &path)(error)));
                }
            }
            if file_type.is_dir() {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                left.extend(entries.map(|entry| entry.path()));
            }
        }
    }
    outcome
}

/// The copy of the base that is written first.
pub(super) fn base_path(folder: &Path) -> PathBuf {
    folder.join(BASES[0])
}

/// Makes `path` and its parents, each durable in the folder that it is in.
pub(super) fn create_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    create_folder(above)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, PRIVATE_FOLDER);
    match builder.create(path) {
        Ok(()) => sync_folder(above),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(failed("create the folder", path)(error)),
    }
}

/// Makes the names in a folder durable: its own fsync, which the files' fsync does not imply.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    // A folder cannot be opened as a file on Windows, which needs no such call.
    if cfg!(unix) {
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(failed("make durable the folder", path))?;
    }
    Ok(())
}

/// The folder that `path` is in; the current one for a bare name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

/// A name in `folder` that nobody has: `name`, or `name-2` and so on.
pub(super) fn free_name(folder: &Path, name: &str) -> PathBuf {
    let mut candidate = folder.join(name);
    let mut number = 2_u32;
    while candidate.exists() {
        candidate = folder.join(format!("{name}-{number}"));
        number += 1;
    }
    candidate
}

/// Names the action and the file in an error of the system.
pub(super) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}
