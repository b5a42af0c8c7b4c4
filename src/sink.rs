//! Where the drivers put what happened.

use std::future::Future;

use allexmaster_state::{Event, Incarnation};
use tokio::sync::mpsc;

/// The way into the loop, as the drivers see it: they know nothing else of it.
///
/// Sending waits while the loop is behind. A loop that has ended takes nothing more, and nobody
/// is there to be told: the event is dropped.
pub trait EventSink: Clone + Send + Sync + 'static {
    /// Hands an event in.
    fn send(&self, event: Event) -> impl Future<Output = ()> + Send;

    /// Waits until the end of an attempt, whose event was sent, is on disk. False: it never will
    /// be, since the loop has ended.
    fn recorded(&self, incarnation: Incarnation) -> impl Future<Output = bool> + Send;
}

impl EventSink for mpsc::Sender<Event> {
    async fn send(&self, event: Event) {
        if Self::send(self, event).await.is_err() {
            tracing::debug!("an event came after the loop had ended");
        }
    }

    /// Without a loop there is no disk: what was sent is all that there is.
    async fn recorded(&self, _: Incarnation) -> bool {
        !self.is_closed()
    }
}
