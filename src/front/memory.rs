//! What went into a front, in memory that outlives the process: a file without a name, which somebody
//! else holds open too.
//!
//! ```text
//!  ├─ image ─┼─ input ─┼─ bytes ─┼─ mark ─┼─ … ─┤        record: length u32, checksum u32, kind u8,
//!                                                        payload (numbers are little-endian)
//! ```
//!
//! A front is deterministic, so the image and what went in after it make the same front again. When the
//! log is long, a new file with a new image takes its place. A record that was being written when the
//! process died is not there: nothing was done about it yet.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use allexmaster_sessions::Front;
use allexmaster_sessions::{Input, LineName, Mark};

/// The version of the image and of the inputs. A front of another version cannot be made again.
///
/// Changelog:
/// - 1: the first.
pub const FRONT_VERSION: u32 = 1;

/// A log of so many bytes after its image gets a new image: it is replayed in some tens of
/// milliseconds, which is what a restart may take.
const LOG_BYTES_MOST: u64 = 4 * 1_024 * 1_024;

const HEADER: usize = 9;
const CHECKED_FROM: usize = 8;

/// The log.
#[derive(Debug)]
pub struct Memory {
    file: File,
    end: u64,
    image_end: u64,
}

/// Why a log cannot be used.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The system refused.
    #[error("the log of the connections cannot be read")]
    Read(#[from] io::Error),
    /// It has no image of a version that is known.
    #[error(
        "the connections are those of another version of the program ({found:?}, this one knows {FRONT_VERSION})"
    )]
    Version {
        /// The version that was found, where one was.
        found: Option<u32>,
    },
    /// A record that is whole says something that makes no sense.
    #[error("the log of the connections says what makes no sense: {reason}")]
    Senseless {
        /// What.
        reason: String,
    },
}

#[derive(Serialize)]
struct ImageOut<'front> {
    version: u32,
    front: &'front Front,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct ImageIn {
    front: Front,
}

#[repr(u8)]
#[derive(Clone, Copy)]
enum Kind {
    Image = 0,
    Input = 1,
    Bytes = 2,
    Mark = 3,
}

impl Memory {
    /// A new log that begins with this front.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn create(front: &Front) -> io::Result<Self> {
        let file = File::from(memfd_create("allexmaster-front", MemfdFlags::CLOEXEC)?);
        let mut memory = Self {
            file,
            end: 0,
            image_end: 0,
        };
        let image = ImageOut {
            version: FRONT_VERSION,
            front,
        };
        memory.append(Kind::Image, &serde_json::to_vec(&image)?)?;
        memory.image_end = memory.end;
        Ok(memory)
    }

    /// Makes the front of a log again.
    ///
    /// # Errors
    /// There is none in it, or one of another version.
    pub fn open(descriptor: OwnedFd) -> Result<(Self, Front), MemoryError> {
        let mut file = File::from(descriptor);
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let (kind, payload) = next(&mut rest).ok_or(MemoryError::Version { found: None })?;
        if kind != Kind::Image as u8 {
            return Err(MemoryError::Version { found: None });
        }
        let found = serde_json::from_slice::<Version>(payload).ok();
        let found = found.map(|found| found.version);
        if found != Some(FRONT_VERSION) {
            return Err(MemoryError::Version { found });
        }
        let image: ImageIn = serde_json::from_slice(payload).map_err(senseless)?;
        let mut front = image.front;
        let image_end = (bytes.len() - rest.len()) as u64;
        while let Some((kind, payload)) = next(&mut rest) {
            replay(&mut front, kind, payload)?;
        }
        // What it would do now has been done, or is asked for again.
        while front.poll().is_some() {}
        let end = (bytes.len() - rest.len()) as u64;
        let memory = Self {
            file,
            end,
            image_end,
        };
        Ok((memory, front))
    }

    /// Notes an input.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn input(&mut self, now: u64, input: &Input) -> io::Result<()> {
        let mut payload = now.to_le_bytes().to_vec();
        serde_json::to_writer(&mut payload, input)?;
        self.append(Kind::Input, &payload)
    }

    /// Notes bytes that are still in the socket.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn bytes(&mut self, now: u64, line: &LineName, bytes: &[u8]) -> io::Result<()> {
        let mut payload = now.to_le_bytes().to_vec();
        put_name(&mut payload, line);
        payload.extend_from_slice(bytes);
        self.append(Kind::Bytes, &payload)
    }

    /// Notes how far a line's bytes have come.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn mark(&mut self, line: &LineName, mark: Mark) -> io::Result<()> {
        let (which, offset) = match mark {
            Mark::Consumed => (0, 0),
            Mark::Offered(offset) => (1, offset),
            Mark::Taken(offset) => (2, offset),
            Mark::Withdrawn => (3, 0),
        };
        let mut payload = vec![which];
        payload.extend_from_slice(&u64::to_le_bytes(offset));
        put_name(&mut payload, line);
        self.append(Kind::Mark, &payload)
    }

    /// Whether it is time for a new image.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        let log = self.end - self.image_end;
        // A large image is written the less often.
        log > LOG_BYTES_MOST && log > self.image_end
    }

    fn append(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(HEADER + payload.len());
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&[0; 4]);
        record.push(kind as u8);
        record.extend_from_slice(payload);
        let checksum = checksum(record.get(CHECKED_FROM..).unwrap_or_default());
        if let Some(place) = record.get_mut(4..CHECKED_FROM) {
            place.copy_from_slice(&checksum);
        }
        self.file.write_all_at(&record, self.end)?;
        self.end += record.len() as u64;
        Ok(())
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn senseless(error: impl std::fmt::Display) -> MemoryError {
    MemoryError::Senseless {
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

fn put_name(payload: &mut Vec<u8>, line: &LineName) {
    let name = line.0.as_bytes();
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    payload.push(length);
    payload.extend_from_slice(name.get(..usize::from(length)).unwrap_or_default());
}

fn take_name<'bytes>(payload: &mut &'bytes [u8]) -> Option<LineName> {
    let (length, rest) = payload.split_first()?;
    let (name, rest): (&'bytes [u8], _) = rest.split_at_checked(usize::from(*length))?;
    *payload = rest;
    Some(LineName(std::str::from_utf8(name).ok()?.to_owned()))
}

fn take_number(payload: &mut &[u8]) -> Option<u64> {
    let (number, rest) = payload.split_first_chunk::<8>()?;
    *payload = rest;
    Some(u64::from_le_bytes(*number))
}

fn replay(front: &mut Front, kind: u8, mut payload: &[u8]) -> Result<(), MemoryError> {
    let cut_off = || senseless("a record is too short");
    if kind == Kind::Input as u8 {
        let now = take_number(&mut payload).ok_or_else(cut_off)?;
        let input = serde_json::from_slice(payload).map_err(senseless)?;
        front.handle(now, input);
    } else if kind == Kind::Bytes as u8 {
        let now = take_number(&mut payload).ok_or_else(cut_off)?;
        let line = take_name(&mut payload).ok_or_else(cut_off)?;
        front.receive(now, &line, payload);
    } else if kind == Kind::Mark as u8 {
        let (which, mut rest) = payload.split_first().ok_or_else(cut_off)?;
        let offset = take_number(&mut rest).ok_or_else(cut_off)?;
        let line = take_name(&mut rest).ok_or_else(cut_off)?;
        let mark = match which {
            0 => Mark::Consumed,
            1 => Mark::Offered(offset),
            2 => Mark::Taken(offset),
            3 => Mark::Withdrawn,
            other => return Err(senseless(format!("there is no mark {other}"))),
        };
        front.mark(&line, mark);
    } else {
        return Err(senseless(format!("there is no record of kind {kind}")));
    }
    // Its outputs are of the past.
    while front.poll().is_some() {}
    Ok(())
}
