//! The state as of some event, so that a start need not replay everything. Only a cache.
//!
//! One line of JSON that says what it is, a newline, and the state as JSON in LZ4. Whatever does not
//! fit in any respect makes the whole thing worthless; nothing else is ever lost with it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::reader::Position;
use crate::record::{CHECKSUM_LENGTH, Checksum};
use allexmaster_machine::Machine;

/// Raised when the form of the checkpoint itself changes. Not the form of the state: that is
/// [`Machine::STEP_VERSION`].
const FORMAT: u32 = 1;

/// A state of this size has long become unusable; the limit is for lengths that are lies.
const MAX_STATE_BYTES: usize = 1024 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    program: String,
    identity: String,
    step_version: u32,
    sequence: u64,
    at: u64,
    /// Of the last event that the state has seen, in hexadecimal digits.
    checksum: String,
    state_length: usize,
    /// BLAKE3 of the state's JSON, in hexadecimal digits.
    state_hash: String,
}

/// A state that was written down, its JSON not yet read.
pub(crate) struct Written {
    /// The last event that the state has seen.
    pub(crate) position: Position,
    /// The version of the rules that made it.
    pub(crate) step_version: u32,
    /// The state as JSON.
    pub(crate) json: Vec<u8>,
}

/// The bytes of a checkpoint.
pub(crate) fn encode<M: Machine>(
    identity: &str,
    position: Position,
    state: &M::State,
) -> Result<Vec<u8>, Error> {
    write::<M>(
        identity,
        &Written {
            position,
            step_version: M::STEP_VERSION,
            json: json::<M>(state)?,
        },
    )
}

/// A state as JSON.
pub(crate) fn json<M: Machine>(state: &M::State) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(state).map_err(|source| Error::Checkpoint { source })
}

/// The bytes of a state that was written down.
pub(crate) fn write<M: Machine>(identity: &str, written: &Written) -> Result<Vec<u8>, Error> {
    let Written {
        position,
        step_version,
        json: state,
    } = written;
    let description = Description {
        format: FORMAT,
        program: M::PROGRAM.to_owned(),
        identity: identity.to_owned(),
        step_version: *step_version,
        sequence: position.sequence,
        at: position.at,
        checksum: position.checksum.to_string(),
        state_length: state.len(),
        state_hash: blake3::hash(state).to_hex().to_string(),
    };
    let described = serde_json::to_vec(&description);
    let mut bytes = described.map_err(|source| Error::Checkpoint { source })?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&lz4_flex::block::compress(state));
    Ok(bytes)
}

/// What a checkpoint says, or why it does not fit this program, journal or version.
///
/// That the journal has a record at the position is for the reader to find out.
pub(crate) fn decode<M: Machine>(
    identity: &str,
    bytes: &[u8],
) -> Result<(Position, M::State), String> {
    let written = read::<M>(identity, bytes)?;
    if written.step_version != M::STEP_VERSION {
        return Err(format!(
            "it was made by version {} of the rules, these are version {}",
            written.step_version,
            M::STEP_VERSION
        ));
    }
    Ok((written.position, parse_state(&written.json)?))
}

/// What was written down, whichever version of the rules made it.
pub(crate) fn read<M: Machine>(identity: &str, bytes: &[u8]) -> Result<Written, String> {
    let newline = bytes.iter().position(|byte| *byte == b'\n');
    let (description, compressed) = newline
        .and_then(|newline| bytes.split_at_checked(newline))
        .ok_or("it has no description")?;
    let description: Description =
        serde_json::from_slice(description).map_err(|error| error.to_string())?;
    if description.format != FORMAT {
        return Err(format!("it has form {}", description.format));
    }
    if description.program != M::PROGRAM || description.identity != identity {
        return Err("it belongs to another journal".to_owned());
    }
    let checksum = parse_checksum(&description.checksum).ok_or("its checksum is unreadable")?;
    if description.state_length > MAX_STATE_BYTES {
        return Err("it claims an impossible length".to_owned());
    }
    let compressed = compressed.get(1..).unwrap_or_default();
    let state = lz4_flex::block::decompress(compressed, description.state_length)
        .map_err(|error| error.to_string())?;
    if blake3::hash(&state).to_hex().as_str() != description.state_hash {
        return Err("its hash does not fit".to_owned());
    }
    let position = Position {
        sequence: description.sequence,
        checksum,
        at: description.at,
    };
    Ok(Written {
        position,
        step_version: description.step_version,
        json: state,
    })
}

fn parse_state<State: DeserializeOwned>(bytes: &[u8]) -> Result<State, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn parse_checksum(text: &str) -> Option<Checksum> {
    let mut checksum = [0; CHECKSUM_LENGTH];
    if text.len() != 2 * CHECKSUM_LENGTH || !text.is_ascii() {
        return None;
    }
    for (byte, index) in checksum.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(index..index + 2)?, 16).ok()?;
    }
    Some(Checksum(checksum))
}
