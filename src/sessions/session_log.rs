//! What went into a sessions, in memory that outlives the process: a file without a name, which somebody
//! else pumps open too.
//!
//! ```text
//!  ├─ snapshot ─┼─ input ─┼─ input ─┼─ … ─┤     record: length u32, checksum u32, kind u8, payload
//!                                              (numbers are little-endian)
//! ```
//!
//! The sessions are deterministic, so the snapshot and the inputs after it make the same sessions
//! again. When the log is long, a new file with a new snapshot takes its place. A record that was being
//! written when the process died is dropped: nothing was done about it yet.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use allexmaster_machine::{Machine as _, Mono};
use allexmaster_sessions::{Input, SESSIONS_VERSION, Sessions};

/// A log of so many bytes after its snapshot gets a new one: it is replayed in some tens of
/// milliseconds, which is what a restart may take.
const MAX_LOG_BYTES: u64 = 4 * 1_024 * 1_024;

const HEADER: usize = 9;
const CHECKED_FROM: usize = 8;

/// The log.
#[derive(Debug)]
pub struct SessionLog {
    file: File,
    end: u64,
    snapshot_end: u64,
}

/// Why a log cannot be used.
#[derive(Debug, Error)]
pub enum SessionLogError {
    /// The system refused.
    #[error("the log of the connections cannot be read")]
    Read(#[from] io::Error),
    /// It has no snapshot of a version that is known.
    #[error(
        "the connections are those of another version of the program ({found:?}, this one knows {SESSIONS_VERSION})"
    )]
    Version {
        /// The version that was found, where one was.
        found: Option<u32>,
    },
    /// A record that is whole says something that makes no sense.
    #[error("the log of the connections has a record without meaning: {reason}")]
    Meaningless {
        /// What.
        reason: String,
    },
}

#[derive(Serialize)]
struct SnapshotOut<'sessions> {
    version: u32,
    sessions: &'sessions Sessions,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct SnapshotIn {
    sessions: Sessions,
}

/// The kind of the first record; the kinds of inputs are those of the machine.
const SNAPSHOT: u8 = 0;

impl SessionLog {
    /// A new log that begins with this sessions.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn create(sessions: &Sessions) -> io::Result<Self> {
        let file = File::from(allexmaster_keeper::os::memory_file("allexmaster-sessions")?);
        let mut log = Self {
            file,
            end: 0,
            snapshot_end: 0,
        };
        let snapshot = SnapshotOut {
            version: SESSIONS_VERSION,
            sessions,
        };
        log.append_record(SNAPSHOT, |payload| {
            serde_json::to_writer(payload, &snapshot)
        })?;
        log.snapshot_end = log.end;
        Ok(log)
    }

    /// Makes the sessions of a log again.
    ///
    /// # Errors
    /// There is none in it, or one of another version.
    pub fn open(descriptor: OwnedFd) -> Result<(Self, Sessions), SessionLogError> {
        let mut file = File::from(descriptor);
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let (kind, payload) = next(&mut rest).ok_or(SessionLogError::Version { found: None })?;
        if kind != SNAPSHOT {
            return Err(SessionLogError::Version { found: None });
        }
        let found = serde_json::from_slice::<Version>(payload).ok();
        let found = found.map(|found| found.version);
        if found != Some(SESSIONS_VERSION) {
            return Err(SessionLogError::Version { found });
        }
        let snapshot: SnapshotIn = serde_json::from_slice(payload).map_err(meaningless)?;
        let mut sessions = snapshot.sessions;
        let snapshot_end = (bytes.len() - rest.len()) as u64;
        while let Some((kind, payload)) = next(&mut rest) {
            replay(&mut sessions, kind, payload)?;
        }
        let end = (bytes.len() - rest.len()) as u64;
        let log = Self {
            file,
            end,
            snapshot_end,
        };
        Ok((log, sessions))
    }

    /// Appends an input that is about to be handed in.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn append(&mut self, now: Mono, input: &Input) -> io::Result<()> {
        self.append_record(Sessions::kind(input) as u8, |payload| {
            payload.extend_from_slice(&now.0.to_le_bytes());
            Sessions::encode(input, payload)
        })
    }

    /// Whether it is time for a new log.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        let log = self.end - self.snapshot_end;
        // The larger the snapshot, the less often it is written.
        log > MAX_LOG_BYTES && log > self.snapshot_end
    }

    fn append_record(
        &mut self,
        kind: u8,
        payload: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> io::Result<()> {
        let mut record = vec![0; CHECKED_FROM];
        record.push(kind);
        payload(&mut record)?;
        let length = u32::try_from(record.len() - HEADER).map_err(io::Error::other)?;
        let checksum = checksum(record.get(CHECKED_FROM..).unwrap_or_default());
        if let Some(head) = record.first_chunk_mut::<CHECKED_FROM>() {
            *head = [length.to_le_bytes(), checksum]
                .concat()
                .try_into()
                .unwrap_or(*head);
        }
        self.file.write_all_at(&record, self.end)?;
        self.end += record.len() as u64;
        Ok(())
    }
}

impl AsFd for SessionLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn meaningless(error: impl std::fmt::Display) -> SessionLogError {
    SessionLogError::Meaningless {
        reason: error.to_string(),
    }
}

/// The next whole record: its kind and its payload.
fn next<'bytes>(rest: &mut &'bytes [u8]) -> Option<(u8, &'bytes [u8])> {
    let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    let expected: [u8; 4] = rest.get(4..CHECKED_FROM)?.try_into().ok()?;
    let end = HEADER.checked_add(length)?;
    let checked = rest.get(CHECKED_FROM..end)?;
    if checksum(checked) != expected {
        return None;
    }
    let (kind, payload) = checked.split_first()?;
    *rest = rest.get(end..)?;
    Some((*kind, payload))
}

/// The first bytes of BLAKE3: they tell a record that was written to its end from one that was not.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut checksum = [0; 4];
    let hash = blake3::hash(bytes);
    checksum
        .iter_mut()
        .zip(hash.as_bytes())
        .for_each(|(to, from)| *to = *from);
    checksum
}

fn replay(sessions: &mut Sessions, kind: u8, payload: &[u8]) -> Result<(), SessionLogError> {
    let too_short = || meaningless("a record is too short");
    let (now, payload) = payload.split_first_chunk::<8>().ok_or_else(too_short)?;
    let input = Sessions::decode(kind.into(), payload).map_err(meaningless)?;
    // Its outputs are of the past.
    let _ = sessions.handle(Mono(u64::from_le_bytes(*now)), input);
    Ok(())
}
