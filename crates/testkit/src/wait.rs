//! Waiting for a condition: no test sleeps in the hope that something has happened meanwhile.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Finding;

/// No condition takes so long, however busy the machine is: then the test fails.
pub const TIMEOUT: Duration = Duration::from_secs(90);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until the condition gives a value; fails with the description after [`TIMEOUT`].
///
/// # Errors
/// The condition fails, or gives nothing in time.
pub fn try_wait_for<T>(
    what: &str,
    mut condition: impl FnMut() -> Finding<Option<T>>,
) -> Finding<T> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            return Err(format!("waited {TIMEOUT:?} in vain for {what}"));
        }
        sleep(PAUSE);
    }
}

/// Waits until the condition gives a value.
///
/// # Panics
/// It gives nothing within [`TIMEOUT`]; the message is the description.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    try_wait_for(what, || Ok(condition())).unwrap_or_else(|finding| panic!("{finding}"))
}

/// Waits in a task until the condition holds.
///
/// # Panics
/// It does not hold within [`TIMEOUT`]; the message is the description.
#[cfg(feature = "programs")]
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {TIMEOUT:?} in vain for {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
