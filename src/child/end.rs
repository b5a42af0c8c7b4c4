//! The end of a child: waited for, and told as completely as the system can.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use allexmaster_keeper::os::{self, has_ended};
use allexmaster_state::{Ended, Identity, Outcome};
use tokio::io::Interest;
use tokio::time::{Instant, sleep};

use crate::process::Zombie;

/// How long init may take to reap a child of an earlier run. Measured: up to two seconds with a
/// slow init; three are enough, and the service is not started again before.
const REAPED_WITHIN: Duration = Duration::from_secs(3);
/// The pause between two questions whether init has reaped it.
const REAPED_PAUSE: Duration = Duration::from_millis(10);
/// Where the system cannot tell us that a child ended (it is out of watches), we ask so often.
const ASKING_PAUSE: Duration = Duration::from_millis(500);

/// Waits until the process ends, and tells how it ended. A child of this process stays a zombie.
pub(crate) async fn outcome(pidfd: &Arc<OwnedFd>, identity: &Identity) -> Outcome {
    ended(pidfd).await;
    let Some(status) = os::peek_status(pidfd) else {
        // A zombie's status is there at once; after that, whoever reaps it makes it known.
        if let Some(status) = os::status_of_zombie(identity.pid.0, identity.started) {
            return outcome_of_status(status);
        }
        return outcome_of_adopted(pidfd).await;
    };
    if let Some(code) = status.exit_status() {
        return Outcome::Exited(code);
    }
    match status.terminating_signal() {
        Some(signal) => Outcome::Signaled(signal),
        None => Outcome::Lost(Arc::from("the system tells neither a code nor a signal")),
    }
}

/// Completes when the process has ended (as a zombie, or altogether).
pub(super) async fn ended(pidfd: &Arc<OwnedFd>) {
    let registered = os::watch(Arc::clone(pidfd), Interest::READABLE);
    while !has_ended(pidfd) {
        let Ok(registered) = &registered else {
            sleep(ASKING_PAUSE).await;
            continue;
        };
        match registered.readable().await {
            Ok(mut ready) if !has_ended(pidfd) => ready.clear_ready(),
            Ok(_) => {}
            Err(_) => sleep(ASKING_PAUSE).await,
        }
    }
}

async fn outcome_of_adopted(pidfd: &OwnedFd) -> Outcome {
    let deadline = Instant::now() + REAPED_WITHIN;
    loop {
        match os::exit_status(pidfd) {
            Ok(Some(status)) => return outcome_of_status(status),
            Ok(None) if Instant::now() < deadline => sleep(REAPED_PAUSE).await,
            Ok(None) => {
                return Outcome::Lost(Arc::from("its parent did not take its exit code in time"));
            }
            Err(_) => {
                return Outcome::Lost(Arc::from(
                    "it was started by an earlier run, and this system does not tell its exit code",
                ));
            }
        }
    }
}

/// How a child that the keeper has kept ended.
#[must_use]
pub fn end_of(zombie: &Zombie) -> Ended {
    Ended {
        incarnation: zombie.incarnation,
        outcome: outcome_of_status(zombie.status),
    }
}

/// Reads a status as wait(2) describes it.
fn outcome_of_status(status: i32) -> Outcome {
    match status & 0x7f {
        0 => Outcome::Exited((status >> 8) & 0xff),
        signal => Outcome::Signaled(signal),
    }
}
