//! Signals that ask the master to stop, or to read its configuration again.

use std::io::{IsTerminal as _, stderr, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use allexmaster_state::{Event, StopSource};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::Running;
use crate::machine::EventInbox;
use crate::sessions::Runtime;

/// Reports signals as `StopRequested`. The rules decide what one means: all stop in order, but a second
/// Ctrl-C after a while.
///
/// While the journal cannot be written, no event can be recorded and so no rule can decide. Only then
/// this driver does: the first signal waits for the journal, the second ends the master without its
/// children, which the next start finds.
pub(super) struct Stops {
    pub(super) inbox: EventInbox,
    leave: Arc<AtomicBool>,
    asked: bool,
}

impl Stops {
    pub(super) fn of(running: &Running) -> Self {
        Self {
            inbox: running.inbox.clone(),
            leave: Arc::clone(&running.leave),
            asked: false,
        }
    }

    pub(super) async fn signal(&mut self, name: &str, source: StopSource) {
        let waits = self.inbox.outage().is_some();
        if waits && self.asked {
            warn!(
                signal = name,
                "ending; the children stay, and the next start finds them"
            );
            self.leave.store(true, Ordering::Relaxed);
            return;
        }
        if waits {
            warn!(
                signal = name,
                "stopping when the journal can be written; a second signal ends the master \
                 without its children"
            );
        } else if source == StopSource::Interrupt {
            info!(
                signal = name,
                "stopping; Ctrl-C again, after a second, kills the children"
            );
        } else {
            info!(
                signal = name,
                "stopping; each child has its grace; `allexmaster shutdown --now` kills them"
            );
        }
        self.asked = true;
        let event = Event::StopRequested {
            request: None,
            source,
            urgent: false,
        };
        if waits {
            // To wait for room would keep the second signal waiting until the disk works.
            if self.inbox.try_send(event).is_err() {
                warn!("too much waits for the journal to take the wish to stop as well");
            }
        } else {
            // Where the loop has ended, so does the program.
            let _ = self.inbox.send(event).await;
        }
    }
}

/// Obeys signals: to stop, and to read the configuration again (SIGHUP).
pub(super) async fn obey_signals(mut stops: Stops, sessions: Runtime) {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        warn!("signals cannot be received; use `allexmaster shutdown`");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => stops.signal("SIGTERM", StopSource::Signal).await,
            _ = interrupt.recv() => stops.signal("SIGINT", interrupt_source()).await,
            _ = hang_up.recv() => {
                // A signal to stop does not wait for it.
                let sessions = sessions.clone();
                tokio::spawn(async move { sessions.reload().await });
            }
        }
    }
}

/// What SIGINT is here: Ctrl-C, where the master was started on a terminal (the engine has the keeper's
/// standard input and error).
#[must_use]
pub fn interrupt_source() -> StopSource {
    if stdin().is_terminal() || stderr().is_terminal() {
        StopSource::Interrupt
    } else {
        StopSource::Signal
    }
}
