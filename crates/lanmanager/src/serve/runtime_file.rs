//! Keeps `needs.runtime` up to date, away from the loop: a write waits for the disk,
//! and while it does, further changes come together in the next one.

use std::path::PathBuf;
use std::time::Duration;

use allexmaster_journal::Inbox;
use tokio::sync::watch;

use crate::files;
use crate::rules::Rules;
use crate::rules::{Event, State};

/// How long to wait after a failed write. The needs are safe in the journal.
const RETRY: Duration = Duration::from_secs(5);

/// Writes whenever the revision changes, until nobody can change it any more and
/// everything is written.
pub(super) async fn keep(
    directory: PathBuf,
    inbox: Inbox<Rules>,
    mut revision: watch::Receiver<u64>,
) {
    while revision.changed().await.is_ok() {
        loop {
            let Ok((written, needs)) = inbox.look(State::runtime_needs).await else {
                return;
            };
            let directory = directory.clone();
            let writing = move || files::write_runtime_needs(&directory, needs);
            let failure = match tokio::task::spawn_blocking(writing).await {
                Ok(Ok(())) => {
                    let event = Event::RuntimeNeedsWritten { revision: written };
                    if inbox.send(event).await.is_err() {
                        return;
                    }
                    break;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(
                failure,
                "the needs are safe in the journal, but their file is not written; trying again"
            );
            tokio::time::sleep(RETRY).await;
        }
    }
}
