//! The bytes of one record: a published format.
//!
//! ```text
//!  0       1       2        4          8          16         24        28
//!  ├───────┼───────┼────────┼──────────┼──────────┼──────────┼─────────┼─────────┬──────────────┐
//!  │ major │ minor │ kind   │ length   │ sequence │ at       │ entropy   │ payload │ checksum     │
//!  │ u8    │ u8    │ u16    │ u32      │ u64      │ u64, ms  │ u32     │ JSON    │ 16 bytes     │
//!  └───────┴───────┴────────┴──────────┴──────────┴──────────┴─────────┴─────────┴──────────────┘
//! ```
//!
//! Numbers are big-endian; `length` counts the whole record. The checksum is the first 16 bytes of
//! BLAKE3 over the checksum of the record before and everything of this record in front of it, so
//! each record vouches for all before it. Before the first record stands [`genesis`].
//!
//! The first eight bytes and the checksum keep their place and meaning in every format: so a reader
//! of any age can tell a record from the future (refused, untouched) from a damaged one.

use thiserror::Error;

use allexmaster_machine::Stamp;

/// The format that is written, as (major, minor).
///
/// Changelog:
/// - 1.0: the first.
///
/// Major changes when an older program would misread a record, minor when it would only miss
/// something that it can do without (an optional field of a payload).
pub const FORMAT: (u8, u8) = (FORMAT_MAJOR, 0);

const FORMAT_MAJOR: u8 = 1;

/// The longest payload in bytes that is exported and restored: the limit of the rules' events.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// 128 bits: no accident produces a collision, and the overhead stays small.
pub const CHECKSUM_LENGTH: usize = 16;

const HEADER_LENGTH: usize = 28;
const LENGTH_FIELD: std::ops::Range<usize> = 4..8;
/// What every record has, in every format: the fixed first bytes and the checksum.
const SHORTEST: usize = 8 + CHECKSUM_LENGTH;

/// The checksum of a record, and through the chain of all records before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub [u8; CHECKSUM_LENGTH]);

impl std::fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A record as it stands in the journal, its payload not yet read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'bytes> {
    /// Sequence number, time in milliseconds of the machine's clock, and entropy.
    pub stamp: Stamp<u64>,
    /// The kind of the event, a number that is never used twice.
    pub kind: u16,
    /// The event as JSON.
    pub payload: &'bytes [u8],
    /// The checksum that the next record is chained to.
    pub checksum: Checksum,
}

/// Why bytes are not a record that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end before the record does: a torn write, if nothing follows.
    #[error("the record is cut off")]
    Truncated,
    /// The bytes are not those that were written, or follow another record.
    #[error("the checksum does not fit")]
    Checksum,
    /// The record is whole, but of a format that only a newer program reads.
    #[error("the record has format {major}.{minor}, newer than {}.{}", FORMAT.0, FORMAT.1)]
    Newer {
        /// The record's major version.
        major: u8,
        /// The record's minor version.
        minor: u8,
    },
    /// The record is whole, but its major version was never written by any program.
    #[error("the record has format {major}, which never existed")]
    Impossible {
        /// The record's major version.
        major: u8,
    },
}

/// What the first record of a journal is chained to.
#[must_use]
pub fn genesis(program: &str, identity: &str) -> Checksum {
    let mut hasher = blake3::Hasher::new();
    for part in ["allexmaster journal", program, identity] {
        // With its length in front, no two different lists of parts hash alike.
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    truncate(&hasher)
}

/// Appends the record to `output` and gives the checksum for the next one.
///
/// The caller keeps the payload within the limit of its machine.
pub fn encode(
    output: &mut Vec<u8>,
    previous: Checksum,
    stamp: Stamp<u64>,
    kind: u16,
    payload: &[u8],
) -> Checksum {
    let start = output.len();
    let length = HEADER_LENGTH + payload.len() + CHECKSUM_LENGTH;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    output.reserve(length as usize);
    output.extend_from_slice(&[FORMAT.0, FORMAT.1]);
    output.extend_from_slice(&kind.to_be_bytes());
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(&stamp.sequence.to_be_bytes());
    output.extend_from_slice(&stamp.at.to_be_bytes());
    output.extend_from_slice(&stamp.entropy.to_be_bytes());
    output.extend_from_slice(payload);
    let checksum = chain(previous, &output[start..]);
    output.extend_from_slice(&checksum.0);
    checksum
}

/// Reads the record at the start of `bytes`; gives it and the number of bytes that it takes.
///
/// Without `previous` the checksum is taken on trust: only for finding the place to start from.
///
/// # Errors
/// See [`RecordError`]. No input makes it panic, and no damaged record is taken for a good one.
pub fn decode(
    bytes: &[u8],
    previous: Option<Checksum>,
) -> Result<(Record<'_>, usize), RecordError> {
    let length = field(bytes, LENGTH_FIELD.start).map(u32::from_be_bytes)?;
    let length = usize::try_from(length).map_err(|_| RecordError::Truncated)?;
    if length < SHORTEST {
        return Err(RecordError::Checksum);
    }
    let whole = bytes.get(..length).ok_or(RecordError::Truncated)?;
    let (content, checksum) = whole
        .split_last_chunk::<CHECKSUM_LENGTH>()
        .ok_or(RecordError::Truncated)?;
    let checksum = Checksum(*checksum);
    if previous.is_some_and(|previous| chain(previous, content) != checksum) {
        return Err(RecordError::Checksum);
    }
    // Only now is it known that the version is what was written.
    let record = match content[0] {
        0 => return Err(RecordError::Impossible { major: 0 }),
        FORMAT_MAJOR => decode_content(content, checksum)?,
        major => {
            let minor = content[1];
            return Err(RecordError::Newer { major, minor });
        }
    };
    Ok((record, length))
}

/// Format 1. A format 2 would have its own function, and this one a conversion to its record.
fn decode_content(content: &[u8], checksum: Checksum) -> Result<Record<'_>, RecordError> {
    let payload = content.get(HEADER_LENGTH..).ok_or(RecordError::Checksum)?;
    Ok(Record {
        kind: u16::from_be_bytes(field(content, 2)?),
        stamp: Stamp {
            sequence: u64::from_be_bytes(field(content, 8)?),
            at: u64::from_be_bytes(field(content, 16)?),
            entropy: u32::from_be_bytes(field(content, 24)?),
        },
        payload,
        checksum,
    })
}

fn field<const LENGTH: usize>(bytes: &[u8], start: usize) -> Result<[u8; LENGTH], RecordError> {
    bytes
        .get(start..)
        .and_then(|rest| rest.first_chunk::<LENGTH>())
        .copied()
        .ok_or(RecordError::Truncated)
}

fn chain(previous: Checksum, content: &[u8]) -> Checksum {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&previous.0);
    hasher.update(content);
    truncate(&hasher)
}

fn truncate(hasher: &blake3::Hasher) -> Checksum {
    let mut checksum = [0; CHECKSUM_LENGTH];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_LENGTH]);
    Checksum(checksum)
}
