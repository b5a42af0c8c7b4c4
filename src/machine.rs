//! The rules, as the journal knows them.

use allexmaster_journal::Inbox;
use allexmaster_state::Event;
pub use allexmaster_state::Rules;

use crate::sink::EventSink;

/// The way into the loop: every driver reports through a clone of it.
pub type EventInbox = Inbox<Rules>;

impl EventSink for EventInbox {
    async fn send(&self, event: Event) {
        // An error means that the loop has ended: the program is ending too.
        let _ = Self::send(self, event).await;
    }
}
