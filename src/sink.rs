//! Where the drivers report events.

use std::future::Future;

use allexmaster_state::Event;
use tokio::sync::mpsc;

/// The drivers' only way into the loop.
///
/// Sending waits while the loop is behind. After the loop has ended, events are dropped.
pub trait EventSink: Clone + Send + Sync + 'static {
    fn send(&self, event: Event) -> impl Future<Output = ()> + Send;
}

impl EventSink for mpsc::Sender<Event> {
    async fn send(&self, event: Event) {
        if Self::send(self, event).await.is_err() {
            tracing::debug!("an event came after the loop had ended");
        }
    }
}
