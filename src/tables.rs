//! From the LanManager client to the local sockets: what changed in the LanManager's tables.
//!
//! The two know nothing of one another; this channel is all that is between them.
//! The rules take no part in it: no decision depends on these tables.

use allexmaster_protocol::mirror::MirrorChange;
use tokio::sync::mpsc;

/// How many changes may wait; then the LanManager's texts wait.
const CHANGES_MOST: usize = 1_024;

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub enum TableChange {
    /// In the table of services.
    Services(MirrorChange),
    /// In the table of address translations (`nat`).
    Translations(MirrorChange),
}

/// The end that tells.
#[derive(Clone, Debug)]
pub struct TableSender(mpsc::Sender<TableChange>);

/// Both ends.
#[must_use]
pub fn channel() -> (TableSender, mpsc::Receiver<TableChange>) {
    let (sender, receiver) = mpsc::channel(CHANGES_MOST);
    (TableSender(sender), receiver)
}

impl TableSender {
    /// Tells of a change; waits while too many wait.
    pub async fn tell(&self, change: TableChange) {
        // Where nobody listens any more, the program ends.
        let _ = self.0.send(change).await;
    }
}
