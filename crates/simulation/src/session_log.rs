//! The log of the sessions, in a file that the keeper holds: what the engine writes to it survives the
//! engine at once.

use allexmaster_machine::{Machine, Mono};
use allexmaster_sessions::{Input, Sessions};

/// Why the sessions cannot be made again.
pub(crate) type LogError = serde_json::Error;

/// A snapshot and the inputs after it.
pub(crate) struct SessionLog {
    snapshot: String,
    inputs: Vec<(u64, u16, Vec<u8>)>,
}

impl SessionLog {
    pub(crate) fn create(sessions: &Sessions) -> Result<Self, LogError> {
        Ok(Self {
            snapshot: serde_json::to_string(sessions)?,
            inputs: Vec::new(),
        })
    }

    pub(crate) fn append(&mut self, now: u64, input: &Input) -> Result<(), LogError> {
        let mut payload = Vec::new();
        Sessions::encode(input, &mut payload)?;
        self.inputs.push((now, Sessions::kind(input), payload));
        Ok(())
    }

    /// The sessions that the log makes.
    pub(crate) fn replay(&self) -> Result<Sessions, LogError> {
        let mut sessions: Sessions = serde_json::from_str(&self.snapshot)?;
        for (now, kind, payload) in &self.inputs {
            sessions.handle(Mono(*now), Sessions::decode(*kind, payload)?);
        }
        Ok(sessions)
    }
}
