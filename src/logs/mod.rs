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
//! file stays and its content moves: what it holds is copied, in whole blocks, to a file of its own,
//! and then cut off at the front (`fallocate` with `COLLAPSE_RANGE`; ext4 and XFS can). What the
//! child appends in the meantime stays where it is: no byte is lost, and the files, read from the
//! oldest to the newest, are the log without a gap. A block may end in the middle of a line: its
//! rest is then at the start of the next file.
//!
//! Other file systems cannot cut at the front. There everything is copied and the file is then
//! emptied, and what the child writes between the end of the copy and the emptying, a few
//! microseconds, is lost. A crash between the two leaves a part twice, never lost.

mod file_name;
mod rotation;

use std::path::{Path, PathBuf};
use std::time::Duration;

use allexmaster_state::InstanceName;
use tokio::time::{MissedTickBehavior, interval};

pub use rotation::{LogLimits, rotate, rotate_folder};

/// How often the sizes are looked at: one timer and one listing of the folder for all children.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The log file of a service.
#[must_use]
pub fn file_of(folder: &Path, instance: &InstanceName) -> PathBuf {
    folder.join(file_name::of(instance.as_str()))
}

/// Keeps all log files of a folder within the limits of the time, for ever. Drop the future to end it.
pub async fn rotate_all(folder: PathBuf, limits: impl Fn() -> LogLimits) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let (folder, limits) = (folder.clone(), limits());
        // A copy may take a while; it may not hold up anything else.
        let rotating = tokio::task::spawn_blocking(move || rotate_folder(&folder, limits));
        if let Err(error) = rotating.await {
            tracing::warn!(%error, "the rotation of the log files was interrupted");
        }
    }
}
