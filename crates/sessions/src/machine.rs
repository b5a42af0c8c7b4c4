//! The sessions as a machine that a journal records.

use allexmaster_machine::{Machine, Mono, Stamp};
use serde::de::Error as _;

use crate::input::{ConnectionName, Input, Output};
use crate::sessions::Sessions;

/// The version of the state, of the inputs and of what they do. Sessions of another version cannot be
/// made again.
///
/// Changelog:
/// - 3: a master says who it is, and compares the LanManager's list with what runs here.
/// - 2: each conversation is a type of its own; bytes and marks are inputs like all others.
/// - 1: the first.
pub const SESSIONS_VERSION: u32 = 3;

/// The kind of [`Input::Received`], which is recorded as bytes.
const RECEIVED: u16 = 5;

impl Machine for Sessions {
    type State = Self;
    type Event = Input;
    type Effect = Output;
    type Time = Mono;

    const PROGRAM: &'static str = "allexmaster-sessions";
    const STEP_VERSION: u32 = SESSIONS_VERSION;
    /// What one batch of the rules' journal caused is one input, and so is an answer to a query: with
    /// ten thousand services each may take some megabytes.
    const MAX_EVENT_BYTES: usize = 256 * 1024 * 1024;

    fn kind(input: &Input) -> u16 {
        match input {
            Input::Accepted { .. } => 1,
            Input::ChannelOpened { .. } => 2,
            Input::Dialed { .. } => 3,
            Input::DialFailed { .. } => 4,
            Input::Received { .. } => RECEIVED,
            Input::Marked { .. } => 6,
            Input::Carried { .. } => 7,
            Input::Ended { .. } => 8,
            Input::Journaled { .. } => 9,
            Input::Answered { .. } => 10,
            Input::ChildFailed { .. } => 11,
            Input::Upgrading { .. } => 12,
            Input::JournalOut { .. } => 13,
            Input::Timeout => 14,
            Input::Stopping => 15,
        }
    }

    fn step(mut sessions: Self, stamp: Stamp<Mono>, input: Input) -> (Self, Vec<Output>) {
        let outputs = sessions.handle(stamp.at, input);
        (sessions, outputs)
    }

    fn next_deadline(sessions: &Self) -> Option<Mono> {
        sessions.poll_timeout()
    }

    fn deadline_reached() -> Input {
        Input::Timeout
    }

    /// JSON, but received bytes as they are, behind the name and its length in one byte.
    fn encode(input: &Input, output: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let Input::Received { name, bytes } = input else {
            return serde_json::to_writer(output, input);
        };
        let length = u8::try_from(name.0.len());
        output.push(length.map_err(|_| serde_json::Error::custom("a name is too long"))?);
        output.extend_from_slice(name.0.as_bytes());
        output.extend_from_slice(bytes);
        Ok(())
    }

    fn decode(kind: u16, payload: &[u8]) -> Result<Input, serde_json::Error> {
        if kind != RECEIVED {
            return serde_json::from_slice(payload);
        }
        let parts = payload
            .split_first()
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)));
        let (name, bytes) = parts.ok_or_else(|| serde_json::Error::custom("it is too short"))?;
        let name = str::from_utf8(name).map_err(serde_json::Error::custom)?;
        Ok(Input::Received {
            name: ConnectionName(name.to_owned()),
            bytes: bytes.to_vec(),
        })
    }

    fn decode_base(version: u32, json: &[u8]) -> Result<Self, serde_json::Error> {
        if version != SESSIONS_VERSION {
            let text = format!("it is of version {version}, this is {SESSIONS_VERSION}");
            return Err(serde_json::Error::custom(text));
        }
        serde_json::from_slice(json)
    }
}
