//! The children's log files: their names, and their rotation while children write to them.
//!
//! ```text
//!  child ──append──► NAME.log ──copy──► NAME.log.1 ──► NAME.log.2 ──► … ──► removed
//!                       ▲                  │
//!                       └── the copied part is cut off in place
//! ```
//!
//! # Theory of operation
//!
//! A child writes into its log file itself, so it cannot be given another file while it runs. So the
//! file stays and its content moves: piece by piece, in whole blocks, it is copied to a file of its own
//! and cut off at the front (`fallocate` with `COLLAPSE_RANGE`; ext4 and XFS can). What the child
//! appends in the meantime stays where it is: no byte is lost, and the files, read from the oldest to
//! the newest, are the log without a gap. A block may end in the middle of a line: its rest is then at
//! the start of the next file. On a full disk the oldest output makes room: a bounded log is the
//! promise.
//!
//! Other file systems cannot cut at the front. There everything is copied and the file is then
//! emptied, and what the child writes between the end of the copy and the emptying, a few
//! microseconds, is lost. A crash between the two leaves a part twice, never lost.
//!
//! The system tells which files of the folder were written (inotify), so a log is looked at as often as
//! it grows, and one that is silent costs nothing. It tells too when somebody renames or removes a log:
//! the child holds the file itself, so a new one is begun at the child's next start, and the log says so.

mod file_name;
mod follow;
mod rotation;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use allexmaster_keeper::os;
use allexmaster_state::InstanceName;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

pub use follow::Follower;
pub use rotation::{LogLimits, rotate, rotate_folder};
use rotation::{remove_partial, rotate_if_large};

/// How often all sizes are looked at, for what the system did not tell.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The pause between two looks at a log that grows: at 20 MB a second that are 200 kB.
const PAUSE: Duration = Duration::from_millis(10);

/// How often it is tried to watch a folder that is not there yet.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// The log file of a service.
#[must_use]
pub fn file_of(folder: &Path, instance: &InstanceName) -> PathBuf {
    folder.join(file_name::of(instance.as_str()))
}

/// The log, or old log, that takes the most room, and its length in bytes; nothing where all are empty.
#[must_use]
pub fn largest(folder: &Path) -> Option<(PathBuf, u64)> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let lengths = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len())));
    lengths
        .filter(|(_, length)| *length > 0)
        .max_by_key(|(_, length)| *length)
}

/// The log files of a folder, each with the name of its service. A name that is too long for a file is
/// told as the file has it.
#[must_use]
pub fn files_of(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            Some((file_name::service_of(name.to_str()?)?, entry.path()))
        })
        .collect();
    files.sort();
    files
}

/// Keeps all log files of a folder within the limits of the time, for ever. Drop the future to end it.
pub async fn rotate_all(folder: PathBuf, limits: impl Fn() -> LogLimits) {
    remove_partial(&folder);
    let mut looked: Option<Instant> = None;
    loop {
        let watch =
            os::watch_folder(&folder).and_then(|watch| os::watch_socket(watch, Interest::READABLE));
        let Ok(watch) = watch else {
            if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                look(&folder, None, limits()).await;
                looked = Some(Instant::now());
            }
            sleep(WATCH_EVERY).await;
            continue;
        };
        look(&folder, None, limits()).await;
        while keep_within(&folder, &watch, limits()).await {}
        look(&folder, None, limits()).await;
    }
}

/// Waits until logs were written, or long enough, and rotates those that are too large. False where the
/// folder has gone.
async fn keep_within(folder: &Path, watch: &AsyncFd<OwnedFd>, limits: LogLimits) -> bool {
    let Ok(ready) = timeout(LOOK_EVERY, watch.readable()).await else {
        look(folder, None, limits).await;
        return true;
    };
    let Ok(mut ready) = ready else {
        return false;
    };
    let changes = os::folder_changes(watch.get_ref());
    ready.clear_ready();
    let Ok(changes) = changes else {
        return false;
    };
    for name in changes
        .gone
        .iter()
        .filter(|name| name.ends_with(file_name::ENDING))
    {
        tracing::warn!(
            file = %folder.join(name).display(),
            "a log file was renamed or removed by somebody else: its service, if it runs, writes on \
             into that file, which is not rotated, and gets a new log at its next start"
        );
    }
    let all = changes.overflowed;
    look(folder, (!all).then_some(changes.written), limits).await;
    sleep(PAUSE).await;
    !changes.ended
}

/// Looks at the named files, or at all.
async fn look(folder: &Path, names: Option<BTreeSet<String>>, limits: LogLimits) {
    let folder = folder.to_owned();
    // A copy may take a while; it may not hold up anything else.
    let rotating = tokio::task::spawn_blocking(move || match names {
        None => rotate_folder(&folder, limits),
        Some(names) => names
            .iter()
            .for_each(|name| rotate_if_large(&folder.join(name), limits)),
    });
    if let Err(error) = rotating.await {
        tracing::warn!(%error, "the rotation of the log files was interrupted");
    }
}
