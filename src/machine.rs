//! The rules, as the journal knows them.

pub use allexmaster_inspect::rules::Rules;
use allexmaster_journal::Inbox;
use allexmaster_state::Event;

use crate::sink::EventSink;

/// The way in to the loop: every driver reports through one of these.
pub type EventInbox = Inbox<Rules>;

impl EventSink for EventInbox {
    async fn send(&self, event: Event) {
        // Where the loop has ended, the program ends.
        let _ = Self::send(self, event).await;
    }
}
