//! What others do to the files of a folder.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// The room for what is told at a time, in bytes: some hundred files.
const BUFFER: usize = 16 * 1024;

/// What happened in a folder since it was asked for the last time.
#[derive(Debug, Default)]
pub struct FolderChanges {
    /// The files that were written.
    pub written: BTreeSet<String>,
    /// The files that were renamed or removed.
    pub gone: BTreeSet<String>,
    /// More happened than the system could tell.
    pub overflowed: bool,
    /// The folder has gone, and nothing more is told.
    pub ended: bool,
}

/// Begins to watch a folder: the descriptor is readable when there is something to tell.
///
/// # Errors
/// There is no such folder, or the system has no room for another watch.
pub fn watch_folder(folder: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let wanted = WatchFlags::MODIFY
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(&watch, folder, wanted)?;
    Ok(watch)
}

/// What happened in a watched folder since this was asked for the last time. Never waits.
///
/// # Errors
/// The system failed.
pub fn folder_changes(watch: impl AsFd) -> io::Result<FolderChanges> {
    let mut changes = FolderChanges::default();
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::WOULDBLOCK) => return Ok(changes),
            Err(error) => return Err(error.into()),
        };
        let flags = event.events();
        changes.overflowed |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
        let ends = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
        changes.ended |= flags.intersects(ends);
        // A name that is no text is none of ours.
        let Some(name) = event.file_name().and_then(|name| name.to_str().ok()) else {
            continue;
        };
        if flags.contains(ReadFlags::MODIFY) {
            changes.written.insert(name.to_owned());
        }
        if flags.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
            changes.gone.insert(name.to_owned());
        }
    }
}
