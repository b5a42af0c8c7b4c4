//! The rules, as the journal knows them.

use allexmaster_journal::Inbox;
pub use allexmaster_state::Rules;
use allexmaster_state::{Event, Incarnation, State};

use std::time::Duration;

use tokio::time::sleep;

use crate::sink::EventSink;

/// How long a journal that is behind is left alone before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The way in to the loop: every driver reports through one of these.
pub type EventInbox = Inbox<Rules>;

impl EventSink for EventInbox {
    async fn send(&self, event: Event) {
        // Where the loop has ended, the program ends.
        let _ = Self::send(self, event).await;
    }

    async fn recorded(&self, incarnation: Incarnation) -> bool {
        // The state is that after all events that are on disk, and the answer comes after what was
        // sent before. An attempt that goes on has its end still to come: the disk may be full.
        loop {
            match self.look(move |state| goes_on(state, incarnation)).await {
                Ok(true) => sleep(ASK_AGAIN).await,
                Ok(false) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Whether the end of the attempt is still to come.
fn goes_on(state: &State, incarnation: Incarnation) -> bool {
    let attempt = |(of, _): (Incarnation, _)| of == incarnation;
    let mut services = state.services.iter();
    services.any(|(_, service)| service.activity.attempt().is_some_and(attempt))
}
